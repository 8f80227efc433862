"""WeSpeaker's model folders: read to the golden embedding, or refused with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distilvox.errors import UserError
from distilvox.models import MODELS, build
from distilvox.models.runfolder import load_student, read_config
from distilvox.models.table import PUBLISHED
from distilvox.models.wespeaker import import_wespeaker, read_wespeaker
from distilvox.models.wespeaker_known import KNOWN
from tests.reference.fill import features
from tests.wespeaker_making import FEATURES, MARGIN, SMALL, filled, small_state, write_folder

GOLDEN = {
    "XVEC": "wespeaker_xvec",
    "ResNet34": "wespeaker_resnet34",
    "CAMPPlus": "wespeaker_campplus",
    "ECAPA_TDNN_GLOB_c512": "wespeaker_ecapa_tdnn_glob_c512",
    "SimAM_ResNet34_ASP": "wespeaker_simam_resnet34_asp",
}


@pytest.mark.parametrize("model", GOLDEN)
def test_a_folder_becomes_a_run_with_the_golden_embedding(
    model: str, tmp_path: Path, golden: Callable[[str], Any]
) -> None:
    truth = golden(GOLDEN[model])
    dim = truth["kwargs"]["embed_dim"]
    rows = torch.randn(7, dim)
    write_folder(tmp_path / "published", filled(truth["state"]), model=model, args=truth["kwargs"], rows=rows)
    import_wespeaker(tmp_path / "published", tmp_path / "run")
    student, config, head, names = load_student(tmp_path / "run")
    assert sum(p.numel() for p in student.parameters()) == truth["parameters"]
    assert config["imported"]["from"] == f"wespeaker {model}"
    assert torch.equal(head, rows)
    assert names == ()
    for case in truth["cases"]:
        expected = torch.tensor(case["embedding"], dtype=torch.float64)
        with torch.no_grad():
            found = student.backbone(features(case["frames"]).float())[0]
        assert (found.double() - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ("model", "name"),
    [("ResNet34", "wespeaker_resnet34_two_emb"), ("ECAPA_TDNN_GLOB_c512", "wespeaker_ecapa_c512_emb_bn")],
)
def test_variants_give_their_golden_embedding(
    model: str, name: str, tmp_path: Path, golden: Callable[[str], Any]
) -> None:
    truth = golden(name)
    write_folder(tmp_path / "w", filled(truth["state"]), model=model, args=truth["kwargs"])
    student = read_wespeaker(tmp_path / "w").student
    case = truth["cases"][0]
    expected = torch.tensor(case["embedding"], dtype=torch.float64)
    with torch.no_grad():
        found = student.backbone(features(case["frames"]).float())[0]
    assert (found.double() - expected).abs().max() < 1e-4 * expected.abs().max()


def test_eres2net_in_wespeakers_names_is_3d_speakers(tmp_path: Path) -> None:
    """Its values in 3D-Speaker's names: test_models_golden."""
    backbone = build("eres2net", embedding_dim=6).backbone.eval()
    theirs = {}
    for name, value in backbone.state_dict().items():
        stage, block, part, number, *rest = [*name.split("."), *[""] * 4]
        if stage in ("layer3", "layer4") and part in ("convs", "bns"):
            last = [word for word in rest if word]
            kept = [f"{part[:-1]}2_1"] if number == "0" else [part, str(int(number) - 1)]
            name = ".".join([stage, block, *kept, *last])
        theirs[name] = value
    assert "layer3.0.conv2_1.weight" in theirs
    assert "layer4.2.bns.0.running_var" in theirs
    args = {"feat_dim": 80, "embed_dim": 6, "pooling_func": "TSTP", "two_emb_layer": False}
    write_folder(tmp_path / "w", theirs, model="ERes2Net34_Base", args=args)
    found = read_wespeaker(tmp_path / "w").student.backbone.state_dict()
    assert all(torch.equal(found[name], value) for name, value in backbone.state_dict().items())


def test_attentive_pooling_and_defaults_of_simam(tmp_path: Path) -> None:
    state = build("resnet18", embedding_dim=6, attentive=True).backbone.state_dict()
    args = {"feat_dim": 80, "embed_dim": 6, "pooling_func": "ASTP"}
    write_folder(tmp_path / "a", state, model="ResNet18", args=args)
    assert "pool.linear1.weight" in read_wespeaker(tmp_path / "a").student.backbone.state_dict()
    small = build("simam34", channels=4, embedding_dim=6).backbone.state_dict()
    args = {"in_planes": 4, "embed_dim": 6, "dropout": 0.1}
    write_folder(tmp_path / "b", small, model="SimAM_ResNet34_ASP", args=args)
    assert read_wespeaker(tmp_path / "b").student.config.mels == 80
    write_folder(tmp_path / "c", small, model="SimAM_ResNet34_ASP", args={**args, "acoustic_dim": 40})
    with pytest.raises(UserError, match="num_mel_bins 80 and acoustic_dim 40 differ"):
        read_wespeaker(tmp_path / "c")


@pytest.mark.parametrize("model", [name for name in KNOWN if name not in GOLDEN])
def test_every_other_known_model_is_built(model: str) -> None:
    layout = KNOWN[model]
    entry = (MODELS | PUBLISHED)[layout.model]
    chosen = [ours for options in layout.pooling.values() for ours in options]
    for name in [*layout.options, *(ours for fields in layout.fields.values() for ours in fields), *chosen]:
        assert name in vars(entry), name


def test_other_depths_and_a_second_layer_load(tmp_path: Path) -> None:
    student = build("resnet18", two_emb_layer=True, embedding_dim=8)
    args = {"feat_dim": 80, "embed_dim": 8, "pooling_func": "TSTP", "two_emb_layer": True}
    state = student.backbone.state_dict()
    write_folder(tmp_path / "a", state, model="ResNet18", args=args)
    found = read_wespeaker(tmp_path / "a").student.backbone.state_dict()
    assert all(torch.equal(found[name], state[name]) for name in state)
    del args["two_emb_layer"]  # the tensors tell
    write_folder(tmp_path / "b", state, model="ResNet18", args=args)
    assert "seg_2.weight" in read_wespeaker(tmp_path / "b").student.backbone.state_dict()


@pytest.mark.parametrize(
    "file",
    ["avg_model.pt", "model.pt", "models/avg_model.pt", "avg_model", "models/model_150.pt", "model_9.pt"],
)
def test_weights_are_found_where_wespeaker_leaves_them(tmp_path: Path, file: str) -> None:
    write_folder(tmp_path / "w", small_state(), file=file)
    assert read_wespeaker(tmp_path / "w").weights == tmp_path / "w" / file


def test_the_last_epoch_is_taken_and_an_average_before_any(tmp_path: Path) -> None:
    for epoch in (9, 150, 20):
        write_folder(tmp_path / "w", small_state(), file=f"models/model_{epoch}.pt")
    assert read_wespeaker(tmp_path / "w").weights.name == "model_150.pt"
    write_folder(tmp_path / "w", small_state(), file="models/avg_model.pt")
    assert read_wespeaker(tmp_path / "w").weights.name == "avg_model.pt"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_prefix_that_all_names_share_is_taken_off_and_said(
    prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, rows = small_state(), torch.randn(3, 6)
    wrapped = {prefix + name: value for name, value in {**state, "projection.weight": rows}.items()}
    found = read_wespeaker(write_folder(tmp_path / "w", wrapped))
    assert all(torch.equal(found.student.backbone.state_dict()[name], state[name]) for name in state)
    assert torch.equal(found.head, rows)
    assert f"every name begins with '{prefix}'" in capsys.readouterr().err


def test_rows_get_the_names_of_the_list(tmp_path: Path) -> None:
    rows = torch.randn(3, 6)
    folder = write_folder(tmp_path / "w", small_state(), rows=rows, names=["zoe", "abe", "mia"])
    (folder / "spk2id").write_text("mia 2\nzoe 0\nabe 1\n")  # in any order
    import_wespeaker(folder, tmp_path / "run")
    loaded = load_student(tmp_path / "run")
    assert loaded.names == ("zoe", "abe", "mia")
    assert torch.equal(loaded.head, rows)


def test_rows_of_changed_speed_are_other_speakers(tmp_path: Path) -> None:
    rows = torch.randn(6, 6)
    data = {**FEATURES, "speed_perturb": True}
    folder = write_folder(tmp_path / "w", small_state(), rows=rows, names=["zoe", "abe"], data=data)
    found = read_wespeaker(folder)
    assert torch.equal(found.head, rows[:2])
    assert found.names == ("zoe", "abe")
    assert "2 rows of unchanged speed, of 6" in found.about_head


def test_without_a_classifier_there_is_no_head(tmp_path: Path) -> None:
    import_wespeaker(write_folder(tmp_path / "w", small_state()), tmp_path / "run")
    loaded = load_student(tmp_path / "run")
    assert (loaded.head.shape, loaded.names) == ((0, 6), ())
    assert read_config(tmp_path / "run")["speakers"] is None


def test_rows_that_are_no_centres_stay_behind(tmp_path: Path) -> None:
    kinds = {"project_type": "arc_margin_intertopk_subcenter"}
    found = read_wespeaker(
        write_folder(tmp_path / "w", small_state(), rows=torch.randn(9, 6), projection=kinds)
    )
    assert len(found.head) == 0
    assert "arc_margin_intertopk_subcenter rows are no class centres" in found.about_head


def test_tensors_that_do_not_fit_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    state = small_state()
    del state["frame_2.bn.running_mean"]
    state["frame_3.conv_1d.bias"] = torch.zeros(9)
    state["frame_6.conv_1d.bias"] = torch.zeros(9)
    folder = write_folder(tmp_path / "w", state, rows=torch.zeros(3, 5))
    with pytest.raises(UserError, match=r"weights in .*avg_model\.pt do not fit") as caught:
        import_wespeaker(folder, tmp_path / "run")
    for part in (
        "frame_2.bn.running_mean is missing",
        "frame_3.conv_1d.bias has shape [9], expected [8]",
        "frame_6.conv_1d.bias is unexpected",
        "projection.weight has shape [3, 5], expected [3, 6]",
    ):
        assert part in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


class Mischief:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "w", small_state())
    mark = tmp_path / "mark"
    torch.save({**small_state(), "extra": Mischief(mark)}, folder / "avg_model.pt")
    with pytest.raises(UserError, match="nothing was run"):
        import_wespeaker(folder, tmp_path / "run")
    assert not mark.exists()
    assert not (tmp_path / "run").exists()


def test_code_in_a_configuration_is_not_run(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "w", small_state())
    mark = tmp_path / "mark"
    (folder / "config.yaml").write_text(f"model: !!python/object/apply:os.mkdir ['{mark}']\n")
    with pytest.raises(UserError, match="configuration is damaged"):
        read_wespeaker(folder)
    assert not mark.exists()


def test_a_truncated_checkpoint_is_named(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "w", small_state()) / "avg_model.pt"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(
        UserError, match=r"(?s)cannot read the WeSpeaker checkpoint: .*avg_model\.pt.*cut short"
    ):
        read_wespeaker(tmp_path / "w")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not say which model"),
        ("[1, 2]", "does not say which model"),
        ("model: 3", "does not say which model"),
        ("model: [", "configuration is damaged"),
        ("model: ResNet35", r"(?s)no model of WeSpeaker that is known here.*ResNet35.*CAMPPlus"),
        ("model: SimAM_ResNet34", r"(?s)no model of WeSpeaker that is known here(?!.*did you mean)"),
    ],
)
def test_a_configuration_without_a_known_model(tmp_path: Path, text: str, message: str) -> None:
    folder = write_folder(tmp_path / "w", small_state())
    (folder / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_wespeaker(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"args": {**SMALL, "pooling_func": "ASTP"}}, "pooling_func: ASTP (known is TSTP)"),
        ({"args": {**SMALL, "dropout": 0.1}}, "dropout is unknown"),
        ({"args": {"feat_dim": 80}}, "model_args lacks embed_dim"),
        ({"args": {**SMALL, "embed_dim": "six"}}, "embedding_dim of model 'xvector' is of the wrong kind"),
        ({"data": {"fbank_args": {"num_mel_bins": 40}}}, "num_mel_bins 40 and feat_dim 80 differ"),
        ({"data": {"fbank_args": {"frame_shift": 20}}}, "fbank_args.frame_shift: 20 (known is 10)"),
        ({"data": {"frontend": "s3prl"}}, "frontend: s3prl (known is fbank)"),
        ({"data": {"cmvn": False}}, "cmvn: False (known is True)"),
        ({"data": {"cmvn_args": {"norm_var": True}}}, "cmvn_args.norm_var: True (known is False)"),
        ({"data": {"resample_rate": 8000}}, "resample_rate: 8000 (known is 16000)"),
    ],
)
def test_what_is_not_ours_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write_folder(tmp_path / "w", small_state(), **changes)
    with pytest.raises(UserError) as caught:
        read_wespeaker(folder)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "lines", ["zoe 0\n", "zoe 0\nabe 0\n", "zoe 0\nabe 2\n", "zoe\nabe\n", "zoe 0\nzoe 1\n"]
)
def test_names_that_do_not_fit_the_rows(tmp_path: Path, lines: str) -> None:
    folder = write_folder(tmp_path / "w", small_state(), rows=torch.randn(2, 6), projection=MARGIN)
    (folder / "spk2id").write_text(lines)
    with pytest.raises(UserError, match=r"(?s)spk2id do not fit the classifier.*rows 0 to 1"):
        read_wespeaker(folder)


def test_no_folder_no_weights_and_a_run_that_exists(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no WeSpeaker model here"):
        read_wespeaker(tmp_path / "nowhere")
    folder = write_folder(tmp_path / "w", small_state())
    with pytest.raises(UserError, match="exists: it is left alone"):
        import_wespeaker(folder, folder)
    (folder / "avg_model.pt").unlink()
    with pytest.raises(UserError, match="no weights here"):
        import_wespeaker(folder, tmp_path / "run")
