"""Studies: several methods and seeds trained on equal terms, and what they show.

recipe    a study as plain values
budget    equal budgets, equal crops
terms     equal terms: what run folders say, held against the recipe and one another
workers   work in processes of its own, several at a time
grid      trains every run
judging   judges every run a second time: AS-norm, training mean removed, agreement with the teacher
compare   the table
result    study.json as a file must hold it
origin    where its numbers come from
"""
