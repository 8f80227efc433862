"""One HTML page that shows what runs achieved, and what that rests on; it needs no network.

- `read`     run folders → plain records, with what is missing named
- `style`    colours that read on light and dark paper, for both kinds of colour vision; CSS, JavaScript
- `figures`  EER, DET curves, score histograms
- `curves`   learning curves, the map of unseen speakers
- `table`    models, sizes, speed and error rates; where the numbers come from
- `page`     `write_report`: the page

Names from data are text everywhere, in labels of plots too.
"""

from distilvox.report.page import write_report
from distilvox.report.read import Speed

__all__ = ["Speed", "write_report"]
