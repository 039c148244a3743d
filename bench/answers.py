"""How well the classifier of answers agrees with two judges, on answers that it was not trained on.

    python bench/answers.py ../shared/data/speechmap ../shared/data/xstest ../shared/data/deccp \
        --json docs/results/answers.json

Every figure is of classifiers that have not seen the answers in question: those of one model, to one request, about one
government or in one language are left out of training in turn. The judge is grok41 unless the other is named; answers
to which it gave no label are left out. Intervals are of 95%, by a bootstrap over requests.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from answers_page import page
from freehold.audit.agreement import (
    BoolArray,
    area_under_curve,
    balanced_accuracy,
    balanced_accuracy_interval,
    kappa,
    labels_of,
    matched_pairs,
)
from freehold.audit.classifier import LABELS, Classifier
from freehold.audit.features import FloatArray, feature_names
from freehold.audit.labelled import LabelledAnswer, read_speechmap, read_xstest, with_altered, xstest_half
from freehold.audit.languages import LANGUAGES, UNDETERMINED, detect_language
from freehold.audit.training import Design, Settings, fit, held_out_scores, xstest_design
from harness import environment, write_results

EVERYWHERE = (*LANGUAGES, "all")
_LENGTH_FEATURES = {"lines", "one_block", "items", "heads", "very_short", "refuse*len", "voice*len"}
_TURN = re.compile(
    r"<\|im_start\|>user\n(.*?)<\|im_end\|>\s*<\|im_start\|>assistant\n(.*?)(?:<\|im_end\|>|\n===|\Z)", re.DOTALL
)


def figure(value: float) -> float | None:
    """With three decimals; None where it is not defined."""
    return None if math.isnan(value) else round(float(value), 3)


def recalls(truth: Sequence[str], said: Sequence[str]) -> dict[str, Any]:
    """Of each class, how many there are and what share of them the other says too."""
    found: dict[str, Any] = {}
    for label in LABELS:
        hits = [other == label for own, other in zip(truth, said, strict=True) if own == label]
        found[label] = {"n": len(hits), "recall": figure(sum(hits) / len(hits)) if hits else None}
    return found


def interval(answers: Sequence[LabelledAnswer], truth: BoolArray, said: BoolArray) -> list[float | None]:
    """Both ends."""
    return [figure(end) for end in balanced_accuracy_interval([one.item for one in answers], truth, said)]


def not_complete(answers: Sequence[LabelledAnswer]) -> BoolArray:
    """What the first judge says, shape (n,)."""
    return np.array([one.not_complete for one in answers])


def judges(answers: Sequence[LabelledAnswer]) -> dict[str, Any]:
    """How well the two judges agree, by language."""
    found: dict[str, Any] = {}
    for language in EVERYWHERE:
        part = [one for one in answers if language in (one.language, "all")]
        first, second = [one.label for one in part], [one.second for one in part]
        sides = [[str(label != "COMPLETE") for label in labels] for labels in (first, second)]
        other = np.array([label != "COMPLETE" for label in second])
        found[language] = {
            "kappa_three_classes": figure(kappa(first, second)),
            "kappa_complete_or_not": figure(kappa(*sides)),
            "gpt4o_against_grok41": recalls(first, second),
            "grok41_against_gpt4o": recalls(second, first),
            "balanced_accuracy_gpt4o_against_grok41": figure(balanced_accuracy(not_complete(part), other)),
        }
    return found


def matched(answers: Sequence[LabelledAnswer], said: BoolArray, scores: FloatArray) -> dict[str, Any]:
    """Figures of the length-matched pairs, by language; what length alone would tell stands beside them."""
    truth = not_complete(answers)
    second = np.array([one.second != "COMPLETE" for one in answers])
    lengths = np.array([float(len(one.answer)) for one in answers])
    every = matched_pairs(answers)
    found: dict[str, Any] = {}
    for language in EVERYWHERE:
        mine = [pair for pair in every if language in (answers[pair[0]].language, "all")]
        index = [i for pair in mine for i in pair]
        if not index:
            found[language] = {"pairs": 0}
            continue
        found[language] = {
            "pairs": len(mine),
            "balanced_accuracy": figure(balanced_accuracy(truth[index], said[index])),
            "interval": interval([answers[i] for i in index], truth[index], said[index]),
            "area": figure(area_under_curve(truth[index], scores[index])),
            "recall_not_complete": figure(float(said[[a for a, _ in mine]].mean())),
            "recall_complete": figure(float((~said[[b for _, b in mine]]).mean())),
            "other_judge": figure(balanced_accuracy(truth[index], second[index])),
            "area_of_length_alone": figure(area_under_curve(truth[index], -lengths[index])),
        }
    return found


def by_model(answers: Sequence[LabelledAnswer], said: BoolArray) -> dict[str, Any]:
    """What is missed and what is falsely called not COMPLETE, by model and language."""
    truth = not_complete(answers)
    found: dict[str, Any] = {}
    for model in sorted({one.model for one in answers}):
        for language in LANGUAGES:
            keep = np.array([(one.model, one.language) == (model, language) for one in answers])
            found[f"{model} {language}"] = {
                "balanced_accuracy": figure(balanced_accuracy(truth[keep], said[keep])),
                "not_complete": int(truth[keep].sum()),
                "missed": int((truth & ~said & keep).sum()),
                "complete": int((~truth & keep).sum()),
                "false_alarms": int((~truth & said & keep).sum()),
            }
    return found


def summary(answers: Sequence[LabelledAnswer], logits: FloatArray, threshold: FloatArray) -> dict[str, Any]:
    """All figures of held-out predictions; `logits` has shape (n, 2), `threshold` (2,)."""
    labels = labels_of(logits, threshold)
    said = np.array([label != "COMPLETE" for label in labels])
    truth = not_complete(answers)
    agreed = np.array([one.label == one.second for one in answers])
    by_language: dict[str, Any] = {}
    for language in EVERYWHERE:
        keep = np.array([language in (one.language, "all") for one in answers])
        part = [one for one, kept in zip(answers, keep, strict=True) if kept]
        by_language[language] = {
            "n": len(part),
            "not_complete": int(truth[keep].sum()),
            "balanced_accuracy": figure(balanced_accuracy(truth[keep], said[keep])),
            "interval": interval(part, truth[keep], said[keep]),
            "area": figure(area_under_curve(truth[keep], logits[keep, 0])),
            "where_both_judges_agree": figure(balanced_accuracy(truth[keep & agreed], said[keep & agreed])),
            "recalls": recalls(
                [one.label for one in part], [label for label, kept in zip(labels, keep, strict=True) if kept]
            ),
        }
    both = np.flatnonzero(agreed).tolist()
    return {
        "by_language": by_language,
        "length_matched": matched(answers, said, logits[:, 0]),
        "length_matched_where_both_judges_agree": matched([answers[i] for i in both], said[both], logits[both, 0]),
        "by_model": by_model(answers, said),
        "kappa_with_label": figure(kappa([one.label for one in answers], labels)),
    }


def on_xstest(classifier: Classifier, design: Design) -> dict[str, Any]:
    """Full refusals against full compliance, of all models together and of each."""
    labels = labels_of(classifier.scores(design.vectors), classifier.threshold)
    found: dict[str, Any] = {}
    for model in ("all", *sorted({one.model for one in design.answers})):
        keep = [i for i, one in enumerate(design.answers) if model in (one.model, "all")]
        full = [i for i in keep if design.answers[i].label != "EVASIVE"]
        partial = [i for i in keep if design.answers[i].label == "EVASIVE"]
        truth = not_complete([design.answers[i] for i in full])
        said = np.array([labels[i] != "COMPLETE" for i in full])
        denied = np.array([labels[i] == "DENIAL" for i in full])
        found[model] = {
            "n": len(full),
            "balanced_accuracy": figure(balanced_accuracy(truth, said)),
            "refusals_found": figure(float(said[truth].mean())),
            "refusals_called_DENIAL": figure(float(denied[truth].mean())),
            "compliance_called_COMPLETE": figure(float((~said[~truth]).mean())),
            "partial_refusals_not_COMPLETE": figure(sum(labels[i] != "COMPLETE" for i in partial) / len(partial)),
        }
    return found


def on_deccp(classifier: Classifier, folder: Path) -> dict[str, Any]:
    """How many answers of the transcripts, which have no labels, are called what."""
    found: dict[str, Any] = {}
    for name in ("output-original.txt", "output-deccp.txt"):
        turns = _TURN.findall((folder / name).read_text(encoding="utf-8"))
        said = [classifier.predict(question, answer).label for question, answer in turns]
        found[name] = {label: said.count(label) for label in LABELS}
    return found


def milliseconds(classifier: Classifier, answers: Sequence[LabelledAnswer]) -> dict[str, Any]:
    """What a prediction takes, over every fifth answer."""
    taken: list[float] = []
    for one in answers[::5]:
        start = time.perf_counter()
        classifier.predict(one.question, one.answer)
        taken.append(1000.0 * (time.perf_counter() - start))
    return {"mean": figure(float(np.mean(taken))), "p99": figure(float(np.quantile(taken, 0.99)))}


def without_length(design: Design) -> Design:
    """The same answers with the features of length set to zero."""
    vectors = design.vectors.copy()
    for index, name in enumerate(feature_names()):
        if name.startswith("len") or name in _LENGTH_FEATURES:
            vectors[:, index] = 0.0
    return Design(design.answers, vectors)


def report_of(speechmap: Path, xstest: Path, deccp: Path) -> dict[str, Any]:
    """All figures."""
    settings = Settings()
    alone = replace(settings, xstest=0.0)
    threshold = np.array([settings.threshold, 0.5])
    design = Design.of(with_altered(read_speechmap(speechmap)))
    real = [one for one in design.answers if one.source == "speechmap"]
    always = xstest_design(xstest)

    def left_out(group: Callable[[LabelledAnswer], str]) -> dict[str, Any]:
        return summary(real, held_out_scores(design, always, settings, group), threshold)

    def model(one: LabelledAnswer) -> str:
        return one.model

    by_models = held_out_scores(design, always, settings, model)
    swapped = [replace(one, label=one.second, second=one.label) for one in real]
    every = Design.of(read_xstest(xstest))
    held = every.take([i for i, one in enumerate(every.answers) if xstest_half(one) == 1])
    unaware = fit(design, alone)
    packaged = Classifier.load()
    english = [one for one in real if one.language == "en"]
    return {
        "judges": judges(real),
        "one_model_left_out": summary(real, by_models, threshold),
        "one_model_left_out_threshold_0.5": summary(real, by_models, np.array([0.5, 0.5])),
        "one_model_left_out_against_gpt4o": summary(swapped, by_models, threshold),
        "one_model_left_out_without_xstest": summary(real, held_out_scores(design, None, alone, model), threshold),
        "one_model_left_out_without_length_features": summary(
            real, held_out_scores(without_length(design), None, alone, model), threshold
        ),
        "one_question_left_out": left_out(lambda one: one.item),
        "one_government_left_out": left_out(lambda one: one.government),
        "one_language_left_out": left_out(lambda one: one.language),
        "xstest_not_trained_on": on_xstest(unaware, every),
        "xstest_other_half_not_trained_on": on_xstest(unaware, held),
        "xstest_other_half_trained_on": on_xstest(fit(design + always, settings), held),
        "deccp": on_deccp(packaged, deccp),
        "english_requests_of_undetermined_language": figure(
            sum(detect_language(one.question) == UNDETERMINED for one in english) / len(english)
        ),
        "model_bytes": len(packaged.to_json().encode()),
        "milliseconds": milliseconds(packaged, real),
    }


def main() -> None:
    """Computes all figures and writes them with their page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("speechmap", type=Path, help="folder of SpeechMap's answers")
    parser.add_argument("xstest", type=Path, help="folder of XSTest; half of it is trained on")
    parser.add_argument("deccp", type=Path, help="folder of DECCP's transcripts")
    parser.add_argument("--json", type=Path, default=Path("docs/results/answers.json"), help="where to write")
    options = parser.parse_args()
    report = report_of(options.speechmap, options.xstest, options.deccp)
    text = page(report)
    write_results(options.json, {"environment": environment(["freehold", "numpy"]), **report}, text)
    print(text)


if __name__ == "__main__":
    main()
