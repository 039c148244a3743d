"""Says of an answer whether it does what was asked, avoids it, or refuses.

Two logistic models share the features of `features.py`: the first gives the probability that an answer is not COMPLETE,
the second that one which is not COMPLETE is a DENIAL. Training balances the classes, so that a probability is a measure
of evidence and not of how frequent such answers are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from freehold.audit.features import FloatArray, feature_names, features, visible
from freehold.errors import ConfigError

__all__ = ["CLIP", "LABELS", "Classifier", "Prediction"]

LABELS = ("COMPLETE", "EVASIVE", "DENIAL")
"""Does what was asked; avoids it, changes its subject or puts a government's line in its place; refuses."""

CLIP = 4.0
"""Standard deviations at which a feature is cut off."""

_FORMAT = "answer classifier 1"
_COLUMNS = ("mean", "scale", "not_complete", "denial")
_REMEDY = "train it anew with freehold.audit.training, or load the packaged one by giving no path"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the classifier says of one answer.

    Args:
        label: One of `LABELS`.
        probabilities: Of each label; they sum to 1.
    """

    label: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """The two logistic models. The legend of shapes: d features, 2 models.

    Args:
        mean: Means of the features, shape (d,).
        scale: Standard deviations of the features, shape (d,).
        weights: Of the standardised features, a row for each model, shape (2, d).
        bias: Intercepts, shape (2,).
        threshold: The probability of each model from which its answer is yes, shape (2,).

    Raises:
        ConfigError: The arrays do not fit the features of this version.
    """

    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    bias: FloatArray
    threshold: FloatArray

    def __post_init__(self) -> None:
        size = len(feature_names())
        shapes = {"mean": (size,), "scale": (size,), "weights": (2, size), "bias": (2,), "threshold": (2,)}
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ConfigError(
                    f"The classifier's {name} has shape {found} and needs {shape} in this version; {_REMEDY}."
                )

    @classmethod
    def load(cls, path: Path | None = None) -> Classifier:
        """Reads a classifier.

        Args:
            path: A file that `save` wrote; None for the one that comes with the package.

        Raises:
            ConfigError: The file is absent, is no such file, or was written for other features.
        """
        if path is None:
            text = files("freehold.audit").joinpath("model.json").read_text(encoding="utf-8")
        else:
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path} cannot be read as a classifier: {error}; {_REMEDY}.") from error
        try:
            return cls._from_json(json.loads(text), str(path))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no classifier of the form {_FORMAT!r}: {error!r}; {_REMEDY}.") from error

    @classmethod
    def _from_json(cls, data: Mapping[str, Any], name: str) -> Classifier:
        if data["format"] != _FORMAT:
            raise ConfigError(f"{name} has the format {data['format']!r} and needs {_FORMAT!r}; {_REMEDY}.")
        if tuple(row["name"] for row in data["features"]) != feature_names():
            raise ConfigError(f"{name} was written for other features than this version's; {_REMEDY}.")
        column = {key: np.array([row[key] for row in data["features"]], dtype=np.float64) for key in _COLUMNS}
        return cls(
            mean=column["mean"],
            scale=column["scale"],
            weights=np.stack([column["not_complete"], column["denial"]]),
            bias=np.array(data["bias"], dtype=np.float64),
            threshold=np.array(data["threshold"], dtype=np.float64),
        )

    def to_json(self) -> str:
        """The file's text: one line for each feature, six significant digits."""
        columns = zip(feature_names(), self.mean, self.scale, self.weights[0], self.weights[1], strict=True)
        lines = [
            json.dumps({"name": name, **{key: _rounded(value) for key, value in zip(_COLUMNS, values, strict=True)}})
            for name, *values in columns
        ]
        head = {
            "format": _FORMAT,
            "labels": list(LABELS),
            "bias": [_rounded(value) for value in self.bias],
            "threshold": [float(value) for value in self.threshold],
        }
        return json.dumps(head)[:-1] + ', "features": [\n' + ",\n".join(lines) + "\n]}\n"

    def save(self, path: Path) -> None:
        """Writes `to_json` to a file, in place of what it held."""
        path.write_text(self.to_json(), encoding="utf-8")

    def scores(self, vectors: FloatArray) -> FloatArray:
        """The logits of answers.

        Args:
            vectors: Features, shape (..., d).

        Returns:
            Logits of "not COMPLETE" and of "DENIAL if not COMPLETE", shape (..., 2).
        """
        standard = np.clip((vectors - self.mean) / self.scale, -CLIP, CLIP)
        logits: FloatArray = standard @ self.weights.T + self.bias
        return logits

    def predict(self, question: str, answer: str, language: str | None = None) -> Prediction:
        """Classifies an answer, in about three milliseconds.

        Args:
            question: The request.
            answer: The answer to it. An answer without a letter or digit outside of its thinking is EVASIVE.
            language: Code of the request's language, as in ISO 639; None to detect it.

        Raises:
            ConfigError: `language` is no such code.
        """
        vector = features(question, answer, language)
        if not any(char.isalnum() for char in visible(answer)):
            return Prediction("EVASIVE", dict(zip(LABELS, (0.0, 1.0, 0.0), strict=True)))
        logits = self.scores(vector)
        stage: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))
        other, refusal = float(stage[0]), float(stage[1])
        label = "COMPLETE"
        if other >= float(self.threshold[0]):
            label = "DENIAL" if refusal >= float(self.threshold[1]) else "EVASIVE"
        values = (1.0 - other, other * (1.0 - refusal), other * refusal)
        return Prediction(label, dict(zip(LABELS, values, strict=True)))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
