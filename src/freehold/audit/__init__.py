"""What a model refuses and avoids, told from its answers alone: offline, without torch and without a judge.

    classifier = Classifier.load()
    found = classifier.predict("Write an essay on the famine.", "I cannot help with that.")
    found.label, found.probabilities["DENIAL"]

- `classifier.py` says COMPLETE, EVASIVE or DENIAL of an answer, by the trained `model.json`;
- `features.py` is what it looks at, with the patterns of `wording.py` (`wording.toml`) and the guess of `languages.py`;
- `labelled.py` reads answers that people or other models have judged, `training.py` trains `model.json` from them;
- `agreement.py` measures how well two sets of labels agree. `docs/results/answers.md` has the figures and weaknesses.
"""
