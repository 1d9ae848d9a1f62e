"""The sweep file: what a valid one becomes, and the one error that each invalid one gives.

The invalid files are in `bad_sweeps/`, each with its error beside it. After a wording changes, write the errors again:
`for f in *.yaml; do python -m orchestrator plan $f 2> ${f%.yaml}.txt; done` in that folder, and read the diff.
"""

import datetime as dt
import json
import os
import re
from pathlib import Path

import pytest

from orchestrator import config, grid
from orchestrator.config import transformers_names, yaml_reader
from orchestrator.config.problems import MAX_LISTED
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
        grid.expand(config.load(Path(file.name)))
    assert f"{error.value}\n" == file.with_suffix(".txt").read_text(encoding="utf-8")


def test_bad_sweeps_and_expected_errors_come_in_pairs() -> None:
    expected = {file.stem for file in BAD[0].parent.glob("*.txt")}
    assert {file.stem for file in BAD} == expected
    assert len(expected) >= 65


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_an_error_starts_with_the_file_and_gives_the_line_and_path_of_each_problem(file: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.yaml"
    moved.write_bytes(file.read_bytes())
    with pytest.raises(config.SweepError) as error:
        grid.expand(config.load(moved))
    head, *lines = str(error.value).split("\n")
    assert head.startswith(f"{moved}: ")
    lines = lines or [f"  {head.removeprefix(f'{moved}: ')}"]
    for problem, line in zip(error.value.problems[:MAX_LISTED], lines, strict=False):
        assert line.endswith(problem.message)
        if problem.path:
            assert re.match(rf"  line \d+: {re.escape(str(problem.path[0]))}", line)


def test_an_error_about_a_missing_file_suggests_the_most_similar_one(tmp_path: Path) -> None:
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


def test_out_may_contain_name_and_date() -> None:
    data = {"name": "n", "models": ["org/tiny"], "precisions": ["fp32"], "out": "s3://bucket/{name}/{date}"}
    assert config.from_mapping(data, today=dt.date(2026, 1, 31)).out == "s3://bucket/n/2026-01-31"
    assert sweep().out == "results/try"


def test_the_environment_sets_the_date_so_that_a_sweep_goes_on_after_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULEGRID_DATE", "2026-01-30")
    dated = sweep(out="runs/{date}")
    assert (dated.out, dated.out_date) == ("runs/2026-01-30", dt.date(2026, 1, 30))
    assert dated.sweep_hash == sweep(out="elsewhere").sweep_hash
    monkeypatch.setenv("JOULEGRID_DATE", "yesterday")
    with pytest.raises(
        config.SweepError, match=r"^sweep: out: JOULEGRID_DATE='yesterday' is not a date; write it as 20\d\d-"
    ):
        sweep(out="runs/{date}")
    assert sweep(out="elsewhere").out_date is None


def test_texts_are_read_relative_to_the_sweep_file_and_identified_by_their_digest(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"q": "one"}\n{"q": "two"}\n')
    (tmp_path / "q.txt").write_text("A text.\n\nOf two paragraphs.\n")
    text = (
        "name: x\nmodels: [a/b]\nprecisions: [fp32]\nprompts: {file: p.jsonl, column: q}\n"
        "quality: {text: q.txt, context_tokens: 64, stride_tokens: 32}\n"
    )
    loaded = written(tmp_path, text)
    assert loaded.prompt_texts == ("one", "two")
    assert loaded.quality_text == "A text.\n\nOf two paragraphs.\n"
    cell = grid.expand(loaded)[0]
    assert isinstance(cell.prompts, TextPrompts)
    assert isinstance(cell.quality, Quality)
    assert (cell.prompts.file, cell.quality.context_tokens) == ("p.jsonl", 64)
    (tmp_path / "p.jsonl").write_text('{"q": "one"}\n{"q": "three"}\n')
    changed = grid.expand(written(tmp_path, text))[0]
    assert changed.cell_id != cell.cell_id


def test_the_sweep_hash_depends_on_what_affects_the_figures_and_not_on_out() -> None:
    assert sweep().sweep_hash == sweep(out="elsewhere").sweep_hash
    assert len({sweep().sweep_hash, sweep(repeats=2).sweep_hash, sweep(models=["org/other"]).sweep_hash}) == 3


def test_scalars_follow_yaml_1_2(tmp_path: Path) -> None:
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


def test_mappings_that_merge_each_other_many_times_stay_small() -> None:
    lines = ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 7))]
    loader = yaml_reader._Core("\n".join(lines))
    for _, merged in loader.get_single_node().value:
        loader.flatten_mapping(merged)
        assert len(merged.value) == 1


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "s.yaml").open("wb") as file:
        file.truncate(50_000_000_000)  # takes no space on the disk
    with pytest.raises(config.SweepError, match="has more than 1,000,000 bytes, the limit of a sweep file"):
        config.load(tmp_path / "s.yaml")


@pytest.mark.parametrize("name", ["x" * 5000 + ".yaml", "a\0.yaml", "~nobody-of-that-name/x.yaml"])
def test_an_impossible_file_name_gives_one_short_line(name: str) -> None:
    with pytest.raises(config.SweepError, match="cannot be read: ") as error:
        config.load(Path(name))
    assert len(str(error.value)) < 1200
    assert "\n" not in str(error.value)


def test_a_long_axis_is_read_completely() -> None:
    assert len(sweep(axes={"input_tokens": list(range(1, 50_001))}).axes["input_tokens"]) == 50_000


def test_perplexity_degradation_compares_with_the_plainest_precision_of_the_grid(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("A text.")
    base = {"name": "x", "models": ["a/b"], "quality": {"text": "q.txt"}}

    def against(**changes: object) -> str | None:
        return config.from_mapping(base | changes, folder=tmp_path).degradation_against

    assert against(precisions=["int4-bnb", "fp16", "bf16"]) == "bf16"
    assert against(precisions=["fp16", "bf16"], reference_precision="fp16") == "fp16"
    assert against(precisions=["int4-bnb"]) is None
    assert sweep().degradation_against is None


def test_options_that_a_newer_transformers_may_have_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(config.SweepError, match=r"transformers 5\.\d+\.\d+ has no such GenerationConfig field"):
        sweep(axes={"generate.brand_new_sampler": 3})
    monkeypatch.setattr(transformers_names, "version", lambda _: "99.0")
    assert grid.expand(sweep(axes={"generate.brand_new_sampler": 3}))[0].generate == {"brand_new_sampler": 3}


def test_a_model_with_its_own_code_may_have_unknown_arguments_and_an_unknown_type() -> None:
    own = {"model_type": "ours", "auto_map": {"AutoConfig": "ours.Config"}}
    model = {"config": own, "trust_remote_code": True}
    (cell,) = grid.expand(sweep(models=[model], axes={"load.our_option": 3}))
    assert (cell.load, cell.model.config) == ({"our_option": 3}, own)
    with pytest.raises(config.SweepError, match="'ours' is not a model type that transformers"):
        sweep(models=[model | {"trust_remote_code": False}])


def test_a_folder_with_an_unknown_model_type_is_an_error_before_anything_runs(
    tmp_path: Path, model_folder: Path
) -> None:
    (model_folder / "config.json").write_text(json.dumps(LLAMA | {"model_type": "llamaa"}))
    message = r"line 3: models\[0\]: './models/tiny': 'llamaa' is not a model type .* knows; did you mean 'llama'\?"
    with pytest.raises(config.SweepError, match=message):
        written(tmp_path, "name: x\nprecisions: fp32\nmodels: ./models/tiny")


def test_config_fields_of_any_model_are_load_options() -> None:
    options = {"load.num_hidden_layers": 2, "load.use_cache": False, "load.subfolder": "x", "load.n_layer": 2}
    (cell,) = grid.expand(sweep(axes=options))
    assert {f"load.{name}": value for name, value in cell.load.items()} == options


def test_an_engine_is_a_known_name_or_a_module_and_a_name() -> None:
    for engine in ("transformers", "fake", "my_package.engines:make"):
        (cell,) = grid.expand(sweep(engine=engine))
        assert cell.engine == engine
    with pytest.raises(config.SweepError, match=r"engine: unknown engine 'transformer'; did you mean 'transformers'\?"):
        sweep(engine="transformer")
    with pytest.raises(config.SweepError, match=r"engine: unknown engine 'fkae'; did you mean 'fake'\?"):
        sweep(engine="fkae")
    for engine in ("vllm", "module:", ":name", "my-module:name", "a:b:c"):
        with pytest.raises(
            config.SweepError, match=f"unknown engine '{engine}'; use transformers, fake or MODULE:NAME"
        ):
            sweep(engine=engine)


@pytest.mark.parametrize("place", ["axes", "groups"])
def test_generate_act_is_refused_for_the_transformers_engine_only(place: str) -> None:
    settings = {"axes": {"generate.act": "oom"}} if place == "axes" else {"groups": [[{"generate.act": "oom"}]]}
    for engine in ("fake", "my_package:make"):
        (cell,) = grid.expand(sweep(engine=engine, **settings))
        assert cell.generate == {"act": "oom"}
    for changes in ({}, {"engine": "transformers"}):
        with pytest.raises(config.SweepError, match=rf"{place}.*: 'generate.act' is an option of the fake engine"):
            sweep(**settings, **changes)


def test_the_default_engine_leaves_hashes_and_ids_unchanged_and_another_changes_them() -> None:
    without, default, fake = sweep(), sweep(engine="transformers"), sweep(engine="fake")
    assert without.sweep_hash == default.sweep_hash == "c2b0adb02806fae9"
    assert grid.expand(without)[0].cell_id == grid.expand(default)[0].cell_id == "d79b61540f4bf81c"
    assert fake.sweep_hash != without.sweep_hash
    assert grid.expand(fake)[0].cell_id != grid.expand(without)[0].cell_id


def test_loading_a_sweep_loads_neither_torch_nor_ray_nor_pyarrow() -> None:
    import subprocess
    import sys

    code = "import sys, orchestrator.config, orchestrator.grid, orchestrator.commands.schema; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "ray", "transformers", "pyarrow"} & set(loaded)
