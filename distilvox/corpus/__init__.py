"""Speech on disk: files → one store that any rank reads; trial lists.

- `store`      the corpus: int16 PCM in one memory-mapped file, a table, a manifest
- `labels`     who speaks, and in which recording, as numbers: perhaps nobody knows
- `paging`     that file in memory, asked for crop by crop
- `subset`     some of its speakers and utterances, as a corpus of their own
- `table`      the row of an utterance; Parquet
- `tables`     a TSV or CSV list of utterances, as people keep them
- `spans`      which columns of it cut a part out of a file
- `text`       tables and lists in the encodings that people save them in
- `sources`    what there is to pack: a folder or a table, filtered by `--where`
- `gather`     the door of `pack`: which form each source has, several sources as one
- `records`    an utterance as a list names it, whatever the list's form
- `kaldi`      data folders
- `lhotse`     cut sets
- `wespeaker`  raw.list
- `nemo`       manifests
- `speechbrain` its CSV
- `decode`     one file → int16 samples or the reason why not, in a process of its own
- `journal`    what a killed `pack` had done, so that the next one goes on from there
- `pack`       sources → store, with the bad files named
- `outcome`    what a pack found: its report, what was rejected and noted
- `synthetic`  speakers that do not exist, for the demo
- `trials`     lists of verification trials
- `licence`    of the speech, stated in a corpus
- `check`      types, places and samples: whether a corpus is what its files say
- `pairs`      a trial list drawn from a corpus that has none
- `drawn`      different pairs of items in groups, the groups alike
- `describe`   what is in a corpus
"""
