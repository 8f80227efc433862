"""From embeddings to honest numbers, in flow order.

embed       whole utterances to embeddings, in batches of one length
conditions  the same utterances in noise, in rooms, through codecs, cut short
codecs      what a line does to speech
score       embeddings to trial scores
norm        scores against a cohort (AS-norm)
metrics     DET curve, equal error rate, minimum detection cost
confidence  intervals over speakers and training seeds
calibrate   thresholds for a false-accept rate, likelihood ratios
llr         likelihood ratios from several features, what they cost and could cost
agreement   how much of its teacher is in a student
evaluate    one trial list, one record
judge       a trial list tied to its corpus, and what a judged run leaves behind
"""
