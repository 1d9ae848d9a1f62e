"""The figures of every estimator for every shape of one model, and the verdict for each shape."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator.costs import architecture, footprint
from orchestrator.costs.counting import by_architecture, by_dispatcher, inspection, model_config
from orchestrator.costs.counting.meta_model import MetaModel
from orchestrator.costs.counting.passes import Passes
from orchestrator.costs.plausible import check_shape, past_positions
from orchestrator.costs.verdict import verdict
from workers.records import PRECISION_SPECS, FlopsEstimates, InferenceCost, ModelSpec, Shape
from workers.records.errors import EstimateError, ModelLoadError, one_line

_MB = 1e6
_T = TypeVar("_T")


Counted = tuple[list[float] | None, str | None]
"""FLOPs of each shape; or null and the reason."""


def estimate(
    model: ModelSpec,
    shapes: Sequence[Shape],
    *,
    load: Mapping[str, Any] = {},
    calflops: Callable[[], Counted],
) -> list[InferenceCost]:
    """The cost of one inference of `model` for each of `shapes`, in their order.

    All shapes share one meta model and the passes counted on it; weights and a GPU are not needed. Do not call it in a
    process that measures: it imports torch and computes for seconds.

    Args:
        model: the model; of the hub's models, only the config is fetched.
        shapes: batch sizes, tokens and precisions.
        load: the sweep's `load` options; those that name a field of the config override it.
        calflops: waits for the count of calflops in another process; called last, so that both count in parallel.

    Raises:
        ModelLoadError: the config cannot be read, is invalid, or does not give the size of the model.
        EstimateError: the model or a shape is too large to count; or the model's own code does not run on meta tensors
            and its config does not give its size.
    """
    for shape in shapes:
        check_shape(shape)
    facts = _inspect(model, model_config.read(model, load))
    dispatched, no_dispatcher = _attempt(lambda: _dispatch(facts, shapes))
    closed, no_closed = _attempt(lambda: _closed_form(facts, shapes))
    by_calflops, no_calflops = calflops()
    failures = {"dispatcher": no_dispatcher, "architecture": no_closed, "calflops": facts.no_meta or no_calflops}
    return [
        _cost(
            facts,
            shape,
            dispatched,
            FlopsEstimates(
                calflops=by_calflops[i] if by_calflops else None,
                architecture=closed.flops(shape) if closed else None,
                parameter_estimate=2.0 * facts.sizes.active * _tokens(shape),
                dispatcher=dispatched.flops(shape) if dispatched else None,
                failures={name: why for name, why in failures.items() if why},
            ),
        )
        for i, shape in enumerate(shapes)
    ]


@dataclass(frozen=True, kw_only=True)
class _ModelFacts:
    """What is known about a model before counting."""

    read: model_config.ModelConfig
    sizes: architecture.Sizes
    meta: MetaModel | None = None
    no_meta: str | None = None
    products: architecture.Architecture | None = None
    no_products: str | None = None
    positions: int | None = None
    """Rows of the model's table of positions; null if it computes positions, or its own code may extend the table."""


def _inspect(model: ModelSpec, read: model_config.ModelConfig) -> _ModelFacts:
    """The facts about a model, from its meta model or, if that cannot be built, from its config."""
    meta, no_meta = (None, read.unknown) if read.unknown else _attempt(lambda: _built(model, read))
    if meta is None:
        try:
            products, sizes = inspection.from_config(read)
        except ValueError as error:
            failure = EstimateError if read.trust_remote_code else ModelLoadError
            raise failure(f"model {model.name!r}: transformers cannot build it ({no_meta}), and {error}") from None
        return _ModelFacts(read=read, sizes=sizes, no_meta=no_meta, products=products)
    matrix_products, no_products = _attempt(lambda: inspection.architecture_of(read, meta.model))
    known_sizes, _ = _attempt(lambda: inspection.sizes_of(read, meta.model))
    sizes = known_sizes or architecture.Sizes.all_alike(sum(weight.numel() for weight in meta.model.parameters()))
    return _ModelFacts(
        read=read,
        sizes=sizes,
        meta=meta,
        products=matrix_products,
        no_products=no_products,
        positions=None if read.trust_remote_code else inspection.positions(meta.model),
    )


def _built(model: ModelSpec, read: model_config.ModelConfig) -> MetaModel:
    """The meta model. An error that meta tensors do not explain would also fail a real run, so it is a ModelLoadError.

    A model's own code is the exception: it may fail on meta tensors with any error (`numpy()` raises a TypeError).
    """
    try:
        return MetaModel(read)
    except (RuntimeError, NotImplementedError, ImportError, MemoryError):
        raise
    except Exception as error:
        if read.trust_remote_code:
            raise
        raise ModelLoadError(f"model {model.name!r}: its config is invalid: {one_line(error)}") from error


def _dispatch(facts: _ModelFacts, shapes: Sequence[Shape]) -> Passes:
    """The dispatcher's count of every pass that `shapes` need."""
    if facts.meta is None:
        raise ValueError(facts.no_meta)
    try:
        return _counted(facts.meta, facts, shapes)
    except (RuntimeError, NotImplementedError):
        facts.meta.masked = False
        return _counted(facts.meta, facts, shapes)


def _counted(meta: MetaModel, facts: _ModelFacts, shapes: Sequence[Shape]) -> Passes:
    passes = Passes(by_dispatcher.counter(meta), shapes, facts.read.breakpoints, modules=meta.modules)
    for shape in shapes:
        passes.flops(shape)
    return passes


def _closed_form(facts: _ModelFacts, shapes: Sequence[Shape]) -> Passes:
    if facts.products is None:
        raise ValueError(facts.no_products)
    layers = len(facts.products.scores)
    return Passes(by_architecture.counter(facts.products), shapes, facts.read.breakpoints, modules=1 + layers)


def _cost(facts: _ModelFacts, shape: Shape, dispatched: Passes | None, estimates: FlopsEstimates) -> InferenceCost:
    sizes, compute = facts.sizes, PRECISION_SPECS[shape.precision].compute
    doubt = dispatched.doubt if dispatched else None
    cached, reason = _attempt(lambda: _cache_mb(dispatched, facts, shape))
    return InferenceCost(
        flops=verdict(estimates, precision=compute, doubt=doubt, remarks=facts.read.remarks),
        estimates=estimates,
        parameters=sizes.parameters,
        active_parameters=sizes.active,
        weight_memory_mb=footprint.weight_bytes(sizes.parameters, sizes.quantised, shape.precision) / _MB,
        kv_cache_mb=cached[0] if cached else None,
        kv_cache_reason=reason,
        decode_weight_read_mb=footprint.weight_bytes(sizes.read, sizes.read_quantised, shape.precision) / _MB,
        decode_cache_read_mb=cached[1] if cached else None,
        cannot_run=facts.read.cannot_run
        or past_positions(facts.positions, input_tokens=shape.input_tokens, output_tokens=shape.output_tokens),
    )


def _cache_mb(dispatched: Passes | None, facts: _ModelFacts, shape: Shape) -> tuple[float, float | None]:
    """The cache at the end of the inference, and its mean size over the decode passes. Unit: MB."""
    if dispatched is None:
        raise ValueError(facts.no_meta or "the meta model could not run a pass")
    per_element = footprint.element_bytes(shape.precision) / _MB
    mean = dispatched.mean_cache(shape)
    return dispatched.final_cache(shape) * per_element, None if mean is None else mean * per_element


def _tokens(shape: Shape) -> int:
    """Tokens that go through the layers: those of the prompt, and every new one except the last."""
    return shape.batch_size * (shape.input_tokens + shape.output_tokens - 1)


def _attempt(make: Callable[[], _T]) -> tuple[_T | None, str | None]:
    """The result of `make`, or why it failed: one estimator that fails does not stop the others."""
    try:
        return make(), None
    except ValueError as error:  # the message of this project's own errors is complete
        return None, " ".join(str(error).split())
    except ModelLoadError:
        raise
    except Exception as error:
        return None, one_line(error)
