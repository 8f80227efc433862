"""Augmentation is physics: levels, tones and echoes come out as asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from distilvox.errors import UserError
from distilvox.views.augment import DeviceBank, add_noise, add_room, augment, change_speed
from distilvox.views.bank import Bank, load_bank, normalise_room, synthetic_bank
from distilvox.views.draws import Draws
from tests.reference import augment as reference

N = 1000
RATE = 16_000
BANK = synthetic_bank(1, seconds=0.2)


def draws(rows: int, **values: Any) -> Draws:
    """Draws that do nothing, but for what is given (a value for all rows, or one for each)."""
    plain: dict[str, Any] = {
        "speed_index": 0, "start": 0, "noise": -1, "room": -1,
        "speed": 1.0, "noise_start": 0.0, "snr_db": 0.0, "gain_db": 0.0,
    }  # fmt: skip
    arrays = {
        name: np.broadcast_to(np.asarray(values.get(name, nothing), np.float64), rows).astype(type(nothing))
        for name, nothing in plain.items()
    }
    return Draws(
        length=np.rint(N * arrays["speed"]).astype(np.int64),
        silence=np.asarray(values.get("silence", np.zeros((rows, 2))), np.int64),
        silence_db=np.broadcast_to(np.asarray(values.get("silence_db", -60.0)), rows),
        **arrays,
    )


def crops_for(drawn: Draws, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.integers(-9000, 9000, length).astype(np.int16) for length in drawn.length]


def everything(rng: np.random.Generator, rows: int = 8) -> Draws:
    return draws(
        rows,
        speed=np.resize([0.9, 1.0, 1.1, 1.25], rows),
        noise=np.where(np.arange(rows) % 3, rng.integers(0, 24, rows), -1),
        noise_start=rng.uniform(0, 1, rows),
        snr_db=rng.uniform(0, 15, rows),
        room=np.where(np.arange(rows) < 5, rng.integers(0, 24, rows), -1),
        gain_db=rng.uniform(-6, 6, rows),
    )


def test_nothing_drawn_is_the_identity(rng: np.random.Generator) -> None:
    d = draws(5)
    crops = crops_for(d, rng)
    waves = augment(crops, d, DeviceBank.place(BANK, N))
    assert waves.dtype == torch.float32
    assert torch.equal(waves, torch.from_numpy(np.stack(crops) / np.float32(32768)))


def test_no_rows_and_no_bank() -> None:
    assert augment([], draws(0), DeviceBank.place(BANK, N)).shape == (0, N)
    assert augment([np.zeros(N, np.int16)], draws(1), DeviceBank.place(Bank(), N)).abs().max() == 0


def test_equals_the_slow_reference(rng: np.random.Generator) -> None:
    d = everything(rng)
    crops = crops_for(d, rng)
    waves = augment(crops, d, DeviceBank.place(BANK, N)).numpy()
    for row, wave in enumerate(waves):
        slow = reference.augment(
            crops[row],
            speed=d.speed[row],
            room=BANK.rooms[d.room[row]] if d.room[row] >= 0 else None,
            noise=BANK.noises[d.noise[row]] if d.noise[row] >= 0 else None,
            noise_start=d.noise_start[row],
            snr_db=d.snr_db[row],
            gain_db=d.gain_db[row],
            samples=N,
        )
        np.testing.assert_allclose(wave, slow, atol=1e-5 * np.abs(slow).max())


def test_a_batch_is_its_items_and_the_same_bits_each_time(rng: np.random.Generator) -> None:
    d = everything(rng)
    crops = crops_for(d, rng)
    bank = DeviceBank.place(BANK, N)
    waves = augment(crops, d, bank)
    assert torch.equal(waves, augment(crops, d, bank))
    for row in range(len(crops)):
        one = Draws(**{name: values[row : row + 1] for name, values in vars(d).items()})
        torch.testing.assert_close(augment(crops[row : row + 1], one, bank)[0], waves[row], atol=2e-6, rtol=0)


def test_the_snr_is_the_one_asked_for(rng: np.random.Generator) -> None:
    """Measured in float64, for quiet and loud noises alike, over the whole row."""
    snr = np.linspace(-20, 40, 13)
    loudness = 10.0 ** np.linspace(-4, 3, 13)[:, None]
    speech = torch.from_numpy(rng.standard_normal((13, 32_000)).astype(np.float32) * 0.05)
    noise = torch.from_numpy((rng.standard_normal((13, 32_000)) * loudness).astype(np.float32))
    added = add_noise(speech, noise, snr).double() - speech.double()
    got = 10 * torch.log10(speech.double().square().mean(1) / added.square().mean(1))
    np.testing.assert_allclose(got.numpy(), snr, atol=1e-3)


def test_silence_stays_finite() -> None:
    some, none = torch.ones(1, 100), torch.zeros(1, 100)
    for speech, noise in ((some, none), (none, some), (none, none), (some, none + 1e-20)):
        torch.testing.assert_close(add_noise(speech, noise, np.array([-20.0])), speech, atol=1e-15, rtol=0)


def test_noise_runs_on_from_its_end_to_its_beginning(rng: np.random.Generator) -> None:
    noise = rng.standard_normal(7).astype(np.float32)  # far shorter than a view
    bank = DeviceBank.place(Bank((np.ones(3, np.float32), noise)), N)
    d = draws(1, noise=1, noise_start=0.999, snr_db=0.0)
    speech = np.full(N, 3277, np.int16)
    added = augment([speech], d, bank)[0].numpy() - speech / np.float32(32768)
    wanted = noise[(6 + np.arange(N)) % 7]
    np.testing.assert_allclose(added / added[0], wanted / wanted[0], rtol=1e-4, atol=1e-4)


def test_gain_in_db(rng: np.random.Generator) -> None:
    d = draws(3, gain_db=np.array([-20.0, 0.0, 20.0]))
    crops = crops_for(d, rng)
    waves = augment(crops, d, DeviceBank.place(Bank(), N)).numpy()
    for wave, crop, factor in zip(waves, crops, (0.1, 1.0, 10.0), strict=True):
        np.testing.assert_allclose(wave, factor * crop / 32768, rtol=1e-6)  # loud beyond 1, and not clipped


def test_what_is_muted_has_its_level_whatever_was_there(rng: np.random.Generator) -> None:
    levels = np.array([-60.0, -80.0, -97.0, -60.0])
    d = draws(
        4, gain_db=20.0, silence=np.array([[100, 1500], [0, 700], [300, N], [50, 50]]), silence_db=levels
    )
    crops = crops_for(d, rng)
    plain = augment(crops, draws(4, gain_db=20.0), DeviceBank.place(BANK, N))
    waves = augment(crops, d, DeviceBank.place(BANK, N))
    for row, (first, end) in enumerate(d.silence.tolist()):
        assert torch.equal(waves[row, :first], plain[row, :first])
        assert torch.equal(waves[row, end:], plain[row, end:])
    for row in (0, 1):
        first, end = d.silence[row]
        assert 20 * np.log10(float(waves[row, first:end].std())) == pytest.approx(levels[row], abs=0.5)
    assert not waves[2, 300:].any()


def test_a_delta_room_changes_nothing_and_a_late_one_delays(rng: np.random.Generator) -> None:
    waves = torch.from_numpy(rng.standard_normal((4, N)).astype(np.float32))
    rooms = torch.zeros(2, 50)
    rooms[0, 0] = rooms[1, 49] = 1
    out = add_room(waves, rooms, np.array([0, 1, 1, 0]))
    torch.testing.assert_close(out[[0, 3]], waves[[0, 3]], atol=2e-6, rtol=0)
    torch.testing.assert_close(out[1:3, 49:], waves[1:3, :-49], atol=2e-6, rtol=0)
    assert out[1:3, :49].abs().max() < 2e-6  # nothing wraps around from the end


def test_spectra_are_kept_up_to_a_size_and_change_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    waves, which = torch.from_numpy(rng.standard_normal((4, N)).astype(np.float32)), np.array([3, 0, 3, 7])
    bank = DeviceBank.place(BANK, N)
    assert bank.spectra is not None
    kept = add_room(waves, bank.rooms, which, bank.spectra)
    torch.testing.assert_close(kept, add_room(waves, bank.rooms, which), atol=1e-6, rtol=0)
    monkeypatch.setattr("distilvox.views.augment.KEPT_SPECTRA", bank.spectra.nbytes // 2)
    assert DeviceBank.place(BANK, N).spectra is None


def spectrum_db(wave: torch.Tensor) -> np.ndarray:
    """Level at each frequency of the middle of a view, dB relative to a full tone."""
    middle = wave[0, 500:-500].double().numpy()
    window = np.kaiser(middle.size, 14)
    return 20 * np.log10(2 * np.abs(np.fft.rfft(middle * window, 16 * middle.size)) / window.sum() + 1e-9)


@pytest.mark.parametrize("speed", [0.8, 0.9, 0.955, 1.1, 1.25])
@pytest.mark.parametrize("frequency", [100.0, 1000.0, 3000.0, 5200.0])
def test_a_tone_lands_where_speed_puts_it(speed: float, frequency: float) -> None:
    samples = 8000
    time = torch.arange(round(samples * speed), dtype=torch.float64) / RATE
    tone = torch.sin(2 * torch.pi * frequency * time).float()[None]
    level = spectrum_db(change_speed(tone, speed, samples))
    hertz = np.linspace(0, RATE / 2, level.size)
    assert hertz[level.argmax()] == pytest.approx(frequency * speed, rel=2e-4, abs=1.0)
    assert level.max() == pytest.approx(0, abs=0.05)
    assert level[np.abs(hertz - frequency * speed) > 40].max() < -50  # no image, no alias


@pytest.mark.parametrize(
    ("speed", "frequency"), [(1.1, 7300.0), (1.1, 7900.0), (1.25, 6420.0), (2.0, 4050.0)]
)
def test_a_tone_beyond_the_new_nyquist_vanishes(speed: float, frequency: float) -> None:
    time = torch.arange(round(8000 * speed), dtype=torch.float64) / RATE
    tone = torch.sin(2 * torch.pi * frequency * time).float()[None]
    assert spectrum_db(change_speed(tone, speed, 8000)).max() < -50


@pytest.mark.parametrize("speed", [0.5, 0.9, 0.955, 1.0, 1.1, 2.0])
@pytest.mark.parametrize("samples", [1, 7, 39, 1000])
def test_any_length_comes_out_as_asked(speed: float, samples: int) -> None:
    waves = torch.ones(2, max(1, round(samples * speed)))
    out = change_speed(waves, speed, samples)
    assert out.shape == (2, samples)
    if samples == 1000:  # a constant stays constant, away from the edges
        torch.testing.assert_close(out[:, 100:-100], torch.ones(2, 800), atol=1e-3, rtol=0)
    assert change_speed(waves[:0], speed, samples).shape == (0, samples)


def test_crops_that_were_not_drawn_are_refused() -> None:
    bank = DeviceBank.place(Bank(), N)
    for crops in ([np.zeros(N - 1, np.int16)], []):
        with pytest.raises(UserError, match="not those that were drawn"):
            augment(crops, draws(1), bank)


def test_a_room_is_aligned_cut_and_normalised(rng: np.random.Generator) -> None:
    response = rng.uniform(-0.5, 0.5, 20_000).astype(np.float32)
    response[300] = -4.0
    room = normalise_room(response)
    assert room.size == 8000
    assert np.abs(room).argmax() == 0
    assert np.sum(room.astype(np.float64) ** 2) == pytest.approx(1)
    np.testing.assert_allclose(room / room[0], response[300:8300] / -4.0, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(normalise_room(7 * response), room, rtol=1e-6, atol=1e-8)
    for bad in (np.zeros(0, np.float32), np.zeros(9, np.float32)):
        with pytest.raises(UserError, match="empty or silent"):
            normalise_room(bad)


def test_the_bank_that_needs_no_files() -> None:
    assert BANK.id == synthetic_bank(1, seconds=0.2).id
    assert BANK.id != synthetic_bank(2, seconds=0.2).id
    assert Bank(BANK.noises, BANK.rooms[::-1]).id != BANK.id
    assert Bank(BANK.noises[:-1], (BANK.noises[-1], *BANK.rooms)).id != BANK.id
    for noise in BANK.noises:
        assert np.sqrt(np.mean(noise**2)) == pytest.approx(0.1, rel=1e-4)
    for room in BANK.rooms:
        assert np.abs(room).argmax() == 0
        assert np.sum(room**2) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("wave", [np.zeros(0, np.float32), np.array([np.nan], np.float32)])
def test_a_bank_of_nothing_usable_is_refused(wave: np.ndarray) -> None:
    with pytest.raises(UserError, match="noise 0 of the bank is empty or not finite"):
        Bank((wave,))


def test_a_bank_from_folders(tmp_path: Path, rng: np.random.Generator) -> None:
    for name in ("b/two.wav", "a/one.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, rng.uniform(-0.5, 0.5, 3000), RATE)
    (tmp_path / "notes.txt").write_text("not audio")
    bank = load_bank(tmp_path, tmp_path)
    assert [noise.size for noise in bank.noises] == [3000, 3000]
    assert np.abs(bank.noises[0]).max() < np.inf
    one, _ = soundfile.read(tmp_path / "a/one.wav", dtype="float32")
    np.testing.assert_array_equal(bank.noises[0], one)
    np.testing.assert_array_equal(bank.rooms[0], normalise_room(one))
    assert load_bank(tmp_path, tmp_path).id == bank.id
    mixed = load_bank(noise_folder=tmp_path)  # made rooms stand in
    assert [len(mixed.noises), len(mixed.rooms)] == [2, len(synthetic_bank(seconds=0.1).rooms)]
    with pytest.raises(UserError, match="no folder of noises"):
        load_bank(noise_folder=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no audio in this folder of rooms"):
        load_bank(room_folder=tmp_path / "empty")


def test_a_bank_by_the_rules_of_pack(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    """macOS's files are no noises; what cannot be used is named in pack's words, and stops a run only if it is much."""
    for k in range(3):
        soundfile.write(tmp_path / f"{k}.wav", rng.uniform(-0.5, 0.5, (3000, 8)), RATE)
    (tmp_path / "._0.wav").write_bytes(b"\0\5\x16\7" + b"\0" * 4000)
    assert len(load_bank(tmp_path, tmp_path).noises) == 3
    bad = {
        "silent.wav": "silence",
        "x.m4a": "not audio",
        "y.wav": "MPEG-4",
        "z.wav": "empty file",
    }
    soundfile.write(tmp_path / "silent.wav", np.zeros(3000), RATE)
    (tmp_path / "x.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (tmp_path / "y.wav").write_bytes(b"\0\0\0\x20ftypM4A ")
    (tmp_path / "z.wav").touch()
    for noun, folders in (("noises", (tmp_path, None)), ("rooms", (None, tmp_path))):
        with pytest.raises(
            UserError, match=f"files of this folder of {noun} cannot be used: 4 of 7"
        ) as caught:
            load_bank(*folders)
        for name, reason in bad.items():
            assert f"{name}: {reason}" in str(caught.value)
    for name in list(bad)[1:]:
        (tmp_path / name).unlink()
    for k in range(3, 100):
        soundfile.write(tmp_path / f"{k}.wav", rng.uniform(-0.5, 0.5, 30), RATE)
    capsys.readouterr()
    assert len(load_bank(tmp_path).noises) == 100
    assert "noises: 1 of 101 files left out: silent.wav: silence" in capsys.readouterr().err


def test_a_faint_room_is_a_room(tmp_path: Path) -> None:
    response = np.zeros(3000)
    response[[10, 200]] = 2e-4, 1e-4
    soundfile.write(tmp_path / "a.wav", response, RATE, subtype="FLOAT")
    assert load_bank(room_folder=tmp_path).rooms[0][0] == pytest.approx(2 / 5**0.5)


def test_the_real_bank_loads(shared: Path) -> None:
    folder = shared / "corpora" / "noise"
    bank = load_bank(folder / "background", folder / "rooms")
    assert len(bank.noises) == len(list((folder / "background").iterdir()))
    assert len(bank.rooms) == len(list((folder / "rooms").iterdir()))
    assert all(np.abs(room).argmax() == 0 and room.size <= 8000 for room in bank.rooms)
