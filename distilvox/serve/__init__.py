"""The runtime and a book of people over HTTP, and a page to try a voice. Without torch; with the extra [serve].

In the order in which a request meets them:

    settings  where the service listens, its key, the most that it takes
    start     a bundle and a book → a service that listens
    app       the paths and what each answers
    guard     who may ask: host, origin, key; headers that protect the page
    desk      so many at once, so many waiting, the others come again later
    upload    a request's body → recordings and values, in memory alone
    service   recordings → answers
    answers   what is answered, field by field
    outline   what a page draws of a recording: its shape and where it holds sound
    problems  what went wrong, as a status and JSON
    forms     what the OpenAPI page says of the requests' bodies

`page/` holds the web page: plain HTML, CSS and JavaScript, and nothing from elsewhere.
"""
