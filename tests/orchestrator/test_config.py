"""The sweep file: what a good one becomes, and the one error that each bad one gives.

The bad files lie in `bad_sweeps/`, each with its error beside it. To write the errors anew after a wording changed, run
`for f in *.yaml; do python -m orchestrator plan $f 2> ${f%.yaml}.txt; done` in that folder, and read the diff.
"""

import datetime as dt
import json
import os
from pathlib import Path

import pytest

from orchestrator import config, plan
from orchestrator.config import _yaml
from workers import names
from workers.records import Quality, TextPrompts, Window

BAD = sorted(Path(__file__).with_name("bad_sweeps").glob("*.yaml"))
LLAMA = {"model_type": "llama", "hidden_size": 64}


def sweep(**changes: object) -> config.SweepConfig:
    return config.from_mapping({"name": "try", "models": ["org/tiny"], "precisions": ["fp32"]} | changes)


def written(folder: Path, text: str) -> config.SweepConfig:
    file = folder / "sweep.yaml"
    file.write_text(text, encoding="utf-8")
    return config.load(file)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    (folder / "model.safetensors").write_bytes(bytes(2_000_000))
    return folder


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_sweep_gives_its_one_clear_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    with pytest.raises(config.SweepError) as error:
        plan.expand(config.load(Path(file.name)))
    assert f"{error.value}\n" == file.with_suffix(".txt").read_text(encoding="utf-8")


def test_there_are_at_least_thirty_bad_sweeps() -> None:
    assert len(BAD) >= 30


def test_every_error_names_the_file_first() -> None:
    assert all(file.with_suffix(".txt").read_text().startswith(f"{file.name}: ") for file in BAD)


def test_a_missing_file_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "nightly.yaml").write_text("name: x")
    with pytest.raises(config.SweepError, match=r"cannot be read: No such file.*did you mean 'nightly.yaml'"):
        config.load(tmp_path / "nightly.yml")


def test_a_file_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(config.SweepError, match=r"is not UTF-8 text \(byte 9\)"):
        config.load(tmp_path / "s.yaml")


def test_a_hub_id_a_folder_and_a_config_become_models(tmp_path: Path, model_folder: Path) -> None:
    loaded = written(
        tmp_path,
        "name: x\nprecisions: fp32\nmodels:\n  - org/tiny\n  - models/tiny\n"
        "  - {config: {model_type: llama, hidden_size: 64}}\n",
    )
    hub, folder, built = loaded.specs
    assert (hub.name, hub.source, hub.fingerprint) == ("org/tiny", "org/tiny", None)
    assert (folder.name, folder.source) == ("tiny", str(model_folder))
    assert len(folder.fingerprint or "") == 64
    assert (built.name, built.config, built.source) == ("llama", LLAMA, None)


def test_changed_weights_and_a_changed_config_change_the_fingerprint(tmp_path: Path, model_folder: Path) -> None:
    def now() -> str | None:
        return written(tmp_path, "name: x\nprecisions: fp32\nmodels: ./models/tiny").specs[0].fingerprint

    first = now()
    assert now() == first
    os.utime(model_folder / "model.safetensors", ns=(1, 1))
    touched = now()
    (model_folder / "config.json").write_text(json.dumps(LLAMA | {"hidden_size": 65}))
    assert len({first, touched, now()}) == 3


def test_a_folder_without_config_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(config.SweepError, match=r"line 3: models\[0\]: './empty' cannot be read: .* no config.json"):
        written(tmp_path, "name: x\nprecisions: fp32\nmodels: [./empty]")


def test_out_takes_name_and_date() -> None:
    data = {"name": "n", "models": ["org/tiny"], "precisions": ["fp32"], "out": "s3://bucket/{name}/{date}"}
    assert config.from_mapping(data, today=dt.date(2026, 1, 31)).out == "s3://bucket/n/2026-01-31"
    assert sweep().out == "results/try"


def test_the_environment_sets_the_date_for_a_sweep_that_goes_on_after_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULEGRID_DATE", "2026-01-30")
    dated = sweep(out="nights/{date}")
    assert (dated.out, dated.out_date) == ("nights/2026-01-30", dt.date(2026, 1, 30))
    assert dated.sweep_hash == sweep(out="elsewhere").sweep_hash
    monkeypatch.setenv("JOULEGRID_DATE", "yesterday")
    with pytest.raises(config.SweepError, match=r"^sweep: out: JOULEGRID_DATE='yesterday' is not a date, as 20\d\d-"):
        sweep(out="nights/{date}")
    assert sweep(out="elsewhere").out_date is None


def test_texts_are_read_beside_the_sweep_file_and_known_by_their_digest(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"q": "one"}\n{"q": "two"}\n')
    (tmp_path / "q.txt").write_text("A text.\n\nOf two paragraphs.\n")
    text = (
        "name: x\nmodels: [a/b]\nprecisions: [fp32]\nprompts: {file: p.jsonl, column: q}\n"
        "quality: {text: q.txt, context_tokens: 64, stride_tokens: 32}\n"
    )
    loaded = written(tmp_path, text)
    assert loaded.prompt_texts == ("one", "two")
    assert loaded.quality_text == "A text.\n\nOf two paragraphs.\n"
    cell = plan.expand(loaded)[0]
    assert isinstance(cell.prompts, TextPrompts)
    assert isinstance(cell.quality, Quality)
    assert (cell.prompts.file, cell.quality.context_tokens) == ("p.jsonl", 64)
    (tmp_path / "p.jsonl").write_text('{"q": "one"}\n{"q": "three"}\n')
    changed = plan.expand(written(tmp_path, text))[0]
    assert changed.cell_id != cell.cell_id


def test_the_sweep_hash_follows_what_bears_on_the_figures_and_not_where_they_go() -> None:
    assert sweep().sweep_hash == sweep(out="elsewhere").sweep_hash
    assert len({sweep().sweep_hash, sweep(repeats=2).sweep_hash, sweep(models=["org/other"]).sweep_hash}) == 3


def test_scalars_are_read_as_yaml_1_2_has_them(tmp_path: Path) -> None:
    loaded = written(
        tmp_path,
        "name: on\nmodels: [org/no]\nprecisions: [fp32]\ntimeout_s: 1e3\nwindow: {relative_uncertainty: 5e-2}\n"
        "emissions: {grams_per_kwh: 380, source: grid, date: 2026-01-31}\nrepeats: 0x10\n",
    )
    assert (loaded.name, loaded.specs[0].name, loaded.timeout_s, loaded.repeats) == ("on", "org/no", 1000.0, 16)
    assert loaded.window == Window(relative_uncertainty=0.05)
    assert loaded.emissions is not None
    assert loaded.emissions.date == dt.date(2026, 1, 31)


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    loaded = written(
        tmp_path,
        "name: x\nprecisions: [fp32]\nmodels:\n"
        "  - {name: small, config: &c {model_type: llama, hidden_size: 64}}\n"
        "  - {name: large, config: {<<: *c, hidden_size: 128}}\n",
    )
    assert [spec.config for spec in loaded.specs] == [LLAMA, LLAMA | {"hidden_size": 128}]


def test_mappings_that_merge_one_another_many_times_over_stay_small() -> None:
    lines = ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 7))]
    loader = _yaml._Core("\n".join(lines))
    for _, merged in loader.get_single_node().value:
        loader.flatten_mapping(merged)
        assert len(merged.value) == 1


def test_a_file_of_megabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "s.yaml").open("wb") as file:
        file.truncate(50_000_000_000)  # takes no room on the disk
    with pytest.raises(config.SweepError, match="has more than 1,000,000 bytes"):
        config.load(tmp_path / "s.yaml")


@pytest.mark.parametrize("name", ["x" * 5000 + ".yaml", "a\0.yaml", "~nobody-of-that-name/x.yaml"])
def test_a_name_that_no_file_can_have_is_an_error_of_one_short_line(name: str) -> None:
    with pytest.raises(config.SweepError, match="cannot be read: ") as error:
        config.load(Path(name))
    assert len(str(error.value)) < 1200
    assert "\n" not in str(error.value)


def test_a_long_axis_is_read_whole() -> None:
    assert len(sweep(axes={"input_tokens": list(range(1, 50_001))}).axes["input_tokens"]) == 50_000


def test_perplexity_is_held_against_the_plainest_precision_of_the_grid(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("A text.")
    base = {"name": "x", "models": ["a/b"], "quality": {"text": "q.txt"}}

    def against(**changes: object) -> str | None:
        return config.from_mapping(base | changes, folder=tmp_path).degradation_against

    assert against(precisions=["int4-bnb", "fp16", "bf16"]) == "bf16"
    assert against(precisions=["fp16", "bf16"], reference_precision="fp16") == "fp16"
    assert against(precisions=["int4-bnb"]) is None
    assert sweep().degradation_against is None


def test_options_that_a_newer_transformers_may_have_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(config.SweepError, match=r"transformers 5\.\d+\.\d+ has no such field of GenerationConfig"):
        sweep(axes={"generate.brand_new_sampler": 3})
    monkeypatch.setattr(names, "version", lambda _: "99.0")
    assert plan.expand(sweep(axes={"generate.brand_new_sampler": 3}))[0].generate == {"brand_new_sampler": 3}


def test_a_models_own_code_may_take_arguments_and_be_of_a_type_that_nobody_knows() -> None:
    own = {"model_type": "ours", "auto_map": {"AutoConfig": "ours.Config"}}
    model = {"config": own, "trust_remote_code": True}
    (cell,) = plan.expand(sweep(models=[model], axes={"load.our_option": 3}))
    assert (cell.load, cell.model.config) == ({"our_option": 3}, own)
    with pytest.raises(config.SweepError, match="'ours' is no type of model that transformers"):
        sweep(models=[model | {"trust_remote_code": False}])


def test_a_folder_with_a_model_of_no_known_type_is_an_error_before_anything_runs(
    tmp_path: Path, model_folder: Path
) -> None:
    (model_folder / "config.json").write_text(json.dumps(LLAMA | {"model_type": "llamaa"}))
    said = r"line 3: models\[0\]: './models/tiny': 'llamaa' is no type of model .* knows; did you mean 'llama'\?"
    with pytest.raises(config.SweepError, match=said):
        written(tmp_path, "name: x\nprecisions: fp32\nmodels: ./models/tiny")


def test_fields_of_any_models_config_are_options_of_loading() -> None:
    asked = {"load.num_hidden_layers": 2, "load.use_cache": False, "load.subfolder": "x", "load.n_layer": 2}
    (cell,) = plan.expand(sweep(axes=asked))
    assert {f"load.{name}": value for name, value in cell.load.items()} == asked


def test_loading_a_sweep_loads_neither_torch_nor_ray_nor_pyarrow() -> None:
    import subprocess
    import sys

    code = "import sys, orchestrator.config, orchestrator.plan, orchestrator.schema; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "ray", "transformers", "pyarrow"} & set(loaded)
