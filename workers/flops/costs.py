"""Every estimator over every shape of one model, and the verdict for each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from workers.errors import EstimateError, ModelLoadError, one_line
from workers.flops import blueprint, by_architecture, by_dispatcher, config, memory
from workers.flops.passes import Passes
from workers.flops.plausible import check_shape, past_positions
from workers.flops.twin import Twin
from workers.flops.verdict import verdict
from workers.records import FlopsEstimates, InferenceCost, ModelSpec, Shape

_MB = 1e6
_T = TypeVar("_T")


Counted = tuple[list[float] | None, str | None]
"""FLOPs of each shape, or null and why."""


def estimate(
    model: ModelSpec,
    shapes: Sequence[Shape],
    *,
    load: Mapping[str, Any] = {},
    calflops: Callable[[], Counted],
) -> list[InferenceCost]:
    """What one inference of `model` costs on paper, for each of `shapes`, in their order.

    All shapes share one twin of the model and the passes counted on it. Neither weights nor a GPU are needed. To be
    called where nothing is measured: it imports torch, and computes for seconds.

    Args:
        model: the model; of the hub's models, only the config is fetched.
        shapes: batch sizes, tokens and precisions.
        load: the sweep's arguments of loading: those that name a field of the config replace it.
        calflops: waits for what calflops has counted elsewhere; asked last, so that it counts beside everything here.

    Raises:
        ModelLoadError: the config cannot be read, describes no model, or does not say how large it is.
        EstimateError: model or shape are too large to be counted; or the model's own code neither runs on meta tensors,
            nor does its config say how large it is.
    """
    for shape in shapes:
        check_shape(shape)
    drawing = _draw(model, config.read(model, load))
    dispatched, no_dispatcher = _attempt(lambda: _dispatch(drawing, shapes))
    closed, no_closed = _attempt(lambda: _closed_form(drawing, shapes))
    by_calflops, no_calflops = calflops()
    failures = {"dispatcher": no_dispatcher, "architecture": no_closed, "calflops": drawing.no_twin or no_calflops}
    return [
        _cost(
            drawing,
            shape,
            dispatched,
            FlopsEstimates(
                calflops=by_calflops[i] if by_calflops else None,
                architecture=closed.flops(shape) if closed else None,
                parameter_estimate=2.0 * drawing.sizes.active * _tokens(shape),
                dispatcher=dispatched.flops(shape) if dispatched else None,
                failures={name: why for name, why in failures.items() if why},
            ),
        )
        for i, shape in enumerate(shapes)
    ]


@dataclass(frozen=True, kw_only=True)
class _Drawing:
    """What is known of a model before anything is counted."""

    read: config.ModelConfig
    sizes: blueprint.Sizes
    twin: Twin | None = None
    no_twin: str | None = None
    products: blueprint.Blueprint | None = None
    no_products: str | None = None
    positions: int | None = None
    """Positions that the model has a table of; null where it computes them, or its own code may make more."""


def _draw(model: ModelSpec, read: config.ModelConfig) -> _Drawing:
    twin, no_twin = (None, read.unknown) if read.unknown else _attempt(lambda: _built(model, read))
    if twin is None:
        try:
            products, sizes = blueprint.of_config(read)
        except ValueError as error:
            failure = EstimateError if read.trust_remote_code else ModelLoadError
            raise failure(f"model {model.name!r}: neither can transformers build it ({no_twin}), nor {error}") from None
        return _Drawing(read=read, sizes=sizes, no_twin=no_twin, products=products)
    drawn, no_products = _attempt(lambda: blueprint.of_twin(read, twin.model))
    named, _ = _attempt(lambda: blueprint.sizes_of_twin(read, twin.model))
    sizes = named or blueprint.Sizes.all_alike(sum(weight.numel() for weight in twin.model.parameters()))
    return _Drawing(
        read=read,
        sizes=sizes,
        twin=twin,
        products=drawn,
        no_products=no_products,
        positions=None if read.trust_remote_code else blueprint.positions(twin.model),
    )


def _built(model: ModelSpec, read: config.ModelConfig) -> Twin:
    """The twin; what fails for another reason than meta tensors fails in a real run, too.

    A model's own code is the exception: it may fail on meta tensors in any way (`numpy()` raises a TypeError).
    """
    try:
        return Twin(read)
    except (RuntimeError, NotImplementedError, ImportError, MemoryError):
        raise
    except Exception as error:
        if read.trust_remote_code:
            raise
        raise ModelLoadError(f"model {model.name!r}: its config does not fit: {one_line(error)}") from error


def _dispatch(drawing: _Drawing, shapes: Sequence[Shape]) -> Passes:
    """The dispatcher's count, with every pass that `shapes` need already counted."""
    if drawing.twin is None:
        raise ValueError(drawing.no_twin)
    try:
        return _counted(drawing.twin, drawing, shapes)
    except (RuntimeError, NotImplementedError):
        drawing.twin.masked = False
        return _counted(drawing.twin, drawing, shapes)


def _counted(twin: Twin, drawing: _Drawing, shapes: Sequence[Shape]) -> Passes:
    passes = Passes(by_dispatcher.counter(twin), shapes, drawing.read.breakpoints, modules=twin.modules)
    for shape in shapes:
        passes.flops(shape)
    return passes


def _closed_form(drawing: _Drawing, shapes: Sequence[Shape]) -> Passes:
    if drawing.products is None:
        raise ValueError(drawing.no_products)
    layers = len(drawing.products.scores)
    return Passes(by_architecture.counter(drawing.products), shapes, drawing.read.breakpoints, modules=1 + layers)


def _cost(drawing: _Drawing, shape: Shape, dispatched: Passes | None, estimates: FlopsEstimates) -> InferenceCost:
    sizes, compute = drawing.sizes, memory.compute_dtype(shape.precision)
    doubt = dispatched.doubt if dispatched else None
    cached, reason = _attempt(lambda: _cache_mb(dispatched, drawing, shape))
    return InferenceCost(
        flops=verdict(estimates, precision=compute, doubt=doubt, remarks=drawing.read.remarks),
        estimates=estimates,
        parameters=sizes.parameters,
        active_parameters=sizes.active,
        weight_memory_mb=memory.weight_bytes(sizes.parameters, sizes.quantised, shape.precision) / _MB,
        kv_cache_mb=cached[0] if cached else None,
        kv_cache_reason=reason,
        decode_weight_read_mb=memory.weight_bytes(sizes.read, sizes.read_quantised, shape.precision) / _MB,
        decode_cache_read_mb=cached[1] if cached else None,
        cannot_run=drawing.read.cannot_run
        or past_positions(drawing.positions, input_tokens=shape.input_tokens, output_tokens=shape.output_tokens),
    )


def _cache_mb(dispatched: Passes | None, drawing: _Drawing, shape: Shape) -> tuple[float, float | None]:
    """The cache at the end, and what a decode pass reads of it on average. Unit: MB."""
    if dispatched is None:
        raise ValueError(drawing.no_twin or "the twin could make no pass")
    per_element = memory.BYTES[memory.compute_dtype(shape.precision)] / _MB
    mean = dispatched.mean_cache(shape)
    return dispatched.final_cache(shape) * per_element, None if mean is None else mean * per_element


def _tokens(shape: Shape) -> int:
    """Tokens that go through the layers: the prompt's, and every new one but for the last."""
    return shape.batch_size * (shape.input_tokens + shape.output_tokens - 1)


def _attempt(make: Callable[[], _T]) -> tuple[_T | None, str | None]:
    """What `make` makes, or why it could not: an estimator that fails leaves the word to the others."""
    try:
        return make(), None
    except ValueError as error:  # ours say all there is to say
        return None, " ".join(str(error).split())
    except ModelLoadError:
        raise
    except Exception as error:
        return None, one_line(error)
