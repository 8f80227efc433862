"""The runtime that ships: audio → embedding → score → decision, on numpy, onnxruntime and libsndfile alone.

`Verifier.load("bundle").verify("enrol.wav", "test.wav")` is a `Decision`, which prints in words.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distilvox.errors import UserError, require, unknown
from distilvox.files import atomic_file
from distilvox.limits import check_limit
from distilvox.ship.bundle import Bundle
from distilvox.ship.card import PRECISIONS, Card
from distilvox.ship.decision import Decision, decide_voices, noted
from distilvox.ship.gate import check_voice
from distilvox.ship.quality import VERIFY, Bounds, Quality, measure
from distilvox.ship.samples import Source, sound_of, windows
from distilvox.sound import MIN_SECONDS, SAMPLE_RATE, Sound, seconds_of_sound

EMBEDDING = ".npz"
"""The extension of a stored embedding; `verify` takes such a file in place of a recording."""


@dataclass(frozen=True)
class Voice:
    """One recording: its embedding float32 [D], and its figures; those of a stored embedding may be unknown.

    `notes` say what was done to the recording, as `distilvox pack` would: "several channels: the mean of 2".
    `refusal` is what speaks against its use, where that was forced; else None.
    """

    embedding: np.ndarray
    seconds: float | None
    quality: Quality | None
    notes: tuple[str, ...] = ()
    refusal: str | None = None


@dataclass(frozen=True)
class Verifier:
    """A bundle, loaded. Holds no state between calls: the same input gives the same output.

    Args:
        card: what the bundle says about itself.
        precision: "float32" or "int8".
        session: the onnxruntime session.
    """

    card: Card
    precision: str
    session: Any

    @classmethod
    def load(cls, bundle: Path | str | Bundle, *, threads: int = 1, precision: str = "float32") -> Verifier:
        """Opens a bundle, checks its model against the card, and readies it.

        Args:
            bundle: the folder that `distilvox export` wrote.
            threads: processor cores for one embedding, at least 1.
            precision: "float32", or "int8": smaller and faster, with scores that differ a little.
        """
        import onnxruntime

        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        require(threads >= 1, "threads must be at least 1", got=threads)
        check_limit("threads", threads, what="threads")
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        model = opened.read(PRECISIONS[precision])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own share no base
            raise UserError(
                f"onnxruntime {onnxruntime.__version__} cannot run {opened.path / PRECISIONS[precision]}",
                got=str(error).partition("\n")[0][:200],
                remedy="use the onnxruntime that distilvox names, or export the run again",
                exit_code=1,
            ) from error
        return cls(opened.card, precision, session)

    @property
    def space(self) -> str:
        """The id of the embedding space: only embeddings of one space may be compared."""
        return self.card.space_of(self.precision)

    def embed(self, source: Source, sample_rate: int = SAMPLE_RATE, *, force: bool = False) -> np.ndarray:
        """One recording of speech → its embedding, float32 [D], not normalised; `examine` says more of it.

        A recording longer than `samples.LONGEST_SECONDS` is embedded in windows, so that its length costs no memory.

        Args:
            source: a path, or samples [N]: floats in [-1, 1] or integers at full scale.
            sample_rate: of the samples, Hz; a file states its own.
            force: embed what seems to be no speech, or is too short, faint or clipped.

        Raises:
            AudioError: unreadable, shorter than 0.5 s, without enough sound, or not finite; even with `force`.
            Refused: it fails the bounds of `quality.VERIFY`, or its embedding is none of speech.
        """
        return self.examine(source, sample_rate, force=force).embedding

    def run(self, wave: np.ndarray) -> np.ndarray:
        """Checked samples float32 [N] at 16 kHz → embedding, float32 [D]; of many, the mean over windows with sound."""
        parts = windows(wave)
        if len(parts) == 1:
            return self._embed(wave)
        weights = np.array([seconds_of_sound(part) for part in parts])
        used = np.flatnonzero(weights >= min(MIN_SECONDS, weights.max()))
        found = np.stack([self._embed(parts[k]) for k in used])
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        mean = np.average(found / np.maximum(lengths, 1e-12), axis=0, weights=weights[used])
        return (mean * lengths.mean()).astype(np.float32)

    def _embed(self, wave: np.ndarray) -> np.ndarray:
        embedding = self.session.run(None, {self.session.get_inputs()[0].name: wave[None]})[0][0]
        require(
            bool(np.isfinite(embedding).all()),
            "the model gave an embedding that is not finite",
            got=self.card.model.get("name"),
            remedy="report the recording and the bundle: this must not happen",
        )
        return embedding

    def examine(
        self,
        source: Source,
        sample_rate: int = SAMPLE_RATE,
        *,
        bounds: Bounds = VERIFY,
        force: bool = False,
    ) -> Voice:
        """One recording, or an embedding stored by `save_embedding` → its embedding, and how good the recording is.

        Args:
            source, sample_rate, force: as for `embed`.
            bounds: what it must have; `quality.ENROL` asks for more.

        Raises:
            AudioError, Refused: as for `embed`.
        """
        lengths = self.card.speech.get(self.precision)
        if not isinstance(source, np.ndarray | Sound) and Path(source).suffix == EMBEDDING:
            held, seconds = self.load_voice(source)
            embedding, reason = check_voice(
                source, None, lambda: held, lengths=lengths, bounds=bounds, force=force
            )
            return Voice(embedding, seconds, None, refusal=reason)
        sound = sound_of(source, sample_rate)
        quality = measure(sound.wave, sound.levels)
        embedding, reason = check_voice(
            source, quality, lambda: self.run(sound.wave), lengths=lengths, bounds=bounds, force=force
        )
        return Voice(embedding, quality.seconds, quality, sound.notes, reason)

    def score(self, first: np.ndarray, second: np.ndarray) -> float:
        """Cosine of two embeddings [D] of this space, in [-1, 1]."""
        for embedding in (first, second):
            require(
                embedding.shape == (self.card.model["embedding_dim"],),
                "this is no embedding of this model",
                got=f"shape {embedding.shape}",
                allowed=f"shape ({self.card.model['embedding_dim']},)",
            )
        return cosine(first, second)

    def verify(
        self,
        first: Source,
        second: Source,
        *,
        threshold: float | None = None,
        false_accept: float | None = None,
        force: bool = False,
    ) -> Decision:
        """Are two recordings of one speaker?

        Args:
            first, second: recordings, or embeddings stored by `save_embedding` (`.npz`).
            threshold: decides instead of the calibrated one; a cosine in [-1, 1].
            false_accept: the rate that the threshold is to be set for; None: the card's own.
            force: decide on recordings that would be refused; the decision's note says so.

        Raises:
            AudioError, Refused: as for `embed`.
        """
        require(
            threshold is None or -1 <= threshold <= 1,
            "a threshold is a cosine",
            got=threshold,
            allowed="-1 … 1",
        )
        one, two = self.examine(first, force=force), self.examine(second, force=force)
        return self.compare(one, two, threshold, false_accept)

    def compare(
        self, one: Voice, two: Voice, threshold: float | None = None, false_accept: float | None = None
    ) -> Decision:
        """Are two voices of one speaker? The thresholds are those of `verify`."""
        score, seconds = self.score(one.embedding, two.embedding), (one.seconds, two.seconds)
        decision = decide_voices(self.card, score, seconds, threshold, self.precision, false_accept)
        return noted(decision, forced(one, "the first recording"), forced(two, "the second recording"))

    def save_embedding(self, path: Path | str, embedding: np.ndarray, seconds: float | None = None) -> None:
        """Stores an embedding [D] with the id of its space, as `.npz`: an enrolment to verify against.

        seconds: of sound in its recording, where known.
        """
        path = Path(path)
        require(path.suffix == EMBEDDING, "a stored embedding ends in .npz", got=path.name)
        require(
            embedding.shape == (self.card.model["embedding_dim"],) and bool(np.isfinite(embedding).all()),
            "this is no embedding of this model",
            got=f"shape {embedding.shape}",
        )
        with atomic_file(path) as temporary, open(temporary, "wb") as file:
            length = np.array(np.nan if seconds is None else seconds)
            np.savez(
                file, embedding=np.asarray(embedding, np.float32), space=np.array(self.space), seconds=length
            )

    def load_embedding(self, path: Path | str) -> np.ndarray:
        """Reads what `save_embedding` wrote; refuses an embedding of another space."""
        return self.load_voice(path)[0]

    def load_voice(self, path: Path | str) -> tuple[np.ndarray, float | None]:
        """`load_embedding`, with the seconds of sound in its recording; None where they were not stored."""
        remedy = "embed the recording again with this bundle"
        try:
            with np.load(path, allow_pickle=False) as stored:
                embedding, space = stored["embedding"], str(stored["space"])
                length = float(stored["seconds"]) if "seconds" in stored else np.nan
        except FileNotFoundError:
            raise UserError(f"no embedding here: {path} does not exist", remedy=remedy) from None
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"not a stored embedding: {path}", got=str(error), remedy=remedy) from None
        if space != self.space:
            raise UserError(
                f"{path} is an embedding of another model, and the two must not be compared",
                got=f"space {space}",
                allowed=f"space {self.space}, of this bundle at {self.precision}",
                remedy=remedy,
            )
        return embedding, None if np.isnan(length) else length


def forced(voice: Voice, what: str) -> str:
    """A note for a decision that was forced on a recording; nothing where nothing speaks against it."""
    return "" if voice.refusal is None else f"{what} was used by force: {voice.refusal}"


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of two vectors [D], computed in float64, kept within [-1, 1]."""
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    length = float(np.linalg.norm(one) * np.linalg.norm(two))
    require(length > 0, "an embedding of zeros has no direction to compare")
    return min(1.0, max(-1.0, float(one @ two) / length))
