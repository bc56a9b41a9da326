"""ONNX Runtime sessions: arrays in, arrays out. `onnxruntime` is imported when one is opened."""

import contextlib
import ctypes
import io
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from similar_fast.errors import InferenceError, ModelError

__all__ = [
    "Provider",
    "Session",
    "Tensor",
    "available_providers",
    "has_cuda_device",
    "onnxruntime_distributions",
    "open_session",
    "tensor_bytes",
    "to_host",
]

Provider = str | tuple[str, Mapping[str, Any]]
"""An execution provider: `cpu`, `cuda`, `cuda:1` for the second card; or the name of any other as
onnxruntime spells it, alone or with its options."""

Tensor = Any
"""A numpy array, or an `onnxruntime.OrtValue` that lies on the session's device."""

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_NVIDIA = (_CUDA, "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider")
# Otherwise products of float32 matrices are rounded to 10 bits, and float32 weights are no better
# than float16 ones.
_EXACT = {"use_tf32": "0"}
# Weights as `open_session` says. And a thread that waits for others sleeps: where a core is shared,
# spinning doubles the CPU time of a small model's run, and its wall time as well.
_ENTRIES = {"session.disable_quant_qdq": "1", "session.intra_op.allow_spinning": "0"}
_QUIET = 4
_WARNING = 2

# Every distribution that installs a top-level module `onnxruntime`.
_DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-cann",
    "onnxruntime-silicon",
    "onnxruntime-training",
    "onnxruntime-webgpu",
    "ort-nightly",
    "ort-nightly-gpu",
)

# A model's own fault, whatever runs it; and what is its fault where the CPU runs it, since there
# a provider has nothing to fail at.
_MODEL_FAULTS = {"InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile"}
_MODEL_FAULTS_ON_CPU = _MODEL_FAULTS | {"Fail", "NotImplemented"}

_log = logging.getLogger(__name__)


class Session:
    """An open ONNX model; safe to run from many threads at once.

    Attributes:
        path: The file it was read from.
        providers: The execution providers in use, first choice first.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        shapes: (element type in numpy's words, sizes) of every input and output by its name; a size
            that is known at run time only is a name.
        device: Kind and number of where kept outputs stay, as ("cuda", 0); None for arrays.
    """

    def __init__(self, session: Any, path: Path) -> None:  # noqa: ANN401  # onnxruntime has no types
        self._session = session
        self.path = path
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self.device = _device_of(session)
        self.inputs: tuple[str, ...] = tuple(x.name for x in session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(x.name for x in session.get_outputs())
        self.shapes: dict[str, tuple[str, tuple[int | str | None, ...]]] = {
            x.name: (_dtype_name(x.type), tuple(x.shape))
            for x in (*session.get_inputs(), *session.get_outputs())
        }

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name; the interpreter is free while the model runs.

        Args:
            feeds: An array for each name in `inputs`.

        Raises:
            InferenceError: The arrays do not fit, or the provider failed.
        """
        return self.run_keeping(feeds, fetch=self.outputs, keep=())[0]

    def run_keeping(
        self, feeds: Mapping[str, Tensor], *, fetch: Sequence[str], keep: Sequence[str]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Tensor]]:
        """The outputs `fetch` as arrays, and the outputs `keep` wherever the model runs.

        On CUDA the kept outputs never leave the device, and a later run takes them as feeds
        without a copy. Elsewhere they are arrays too. Outputs that are neither are not computed.

        Args:
            feeds: An array, or what an earlier run kept, for each name in `inputs`.
            fetch: Names of outputs.
            keep: Names of outputs.

        Raises:
            InferenceError: The feeds do not fit, or the provider failed.
        """
        names = [*fetch, *keep]
        try:
            if self.device is None:
                outputs = self._session.run(names, dict(feeds))
            else:
                outputs = self._run_bound(feeds, fetch, keep, device=self.device)
        except Exception as err:  # onnxruntime's exceptions share no base but this one
            shapes = {name: _describe_tensor(tensor) for name, tensor in feeds.items()}
            raise InferenceError(f"{self.path} failed on {shapes}: {err}") from err
        found = dict(zip(names, outputs, strict=True))
        return {name: np.asarray(found[name]) for name in fetch}, {x: found[x] for x in keep}

    def _run_bound(
        self,
        feeds: Mapping[str, Tensor],
        fetch: Sequence[str],
        keep: Sequence[str],
        *,
        device: tuple[str, int],
    ) -> list[Tensor]:
        """One run with what was kept bound in place, and what is kept left on `device`.

        A binding is made for each run, so that threads share none. Arrays are on the device when
        they are bound, and a run has ended on the device when it returns, as long as onnxruntime's
        run option `disable_synchronize_execution_providers` is left alone: another thread may read
        what was kept at once.
        """
        binding = self._session.io_binding()
        for name, tensor in feeds.items():
            if isinstance(tensor, np.ndarray):
                binding.bind_cpu_input(name, np.asarray(tensor, order="C"))
            else:
                binding.bind_ortvalue_input(name, tensor)
        for name in fetch:
            binding.bind_output(name, "cpu")
        for name in keep:
            binding.bind_output(name, *device)
        self._session.run_with_iobinding(binding)
        outputs: list[Tensor] = list(binding.get_outputs())
        return [x.numpy() for x in outputs[: len(fetch)]] + outputs[len(fetch) :]


def open_session(
    path: str | Path,
    *,
    providers: str | Sequence[Provider] = "auto",
    threads: int | None = None,
    config: Mapping[str, str] | None = None,
) -> Session:
    """Opens the ONNX model at `path`.

    Weights that are stored in int8 behind `DequantizeLinear` become float once, here, and
    activations stay float: onnxruntime would otherwise fuse such a pair into a product with int8
    activations, which is faster and less exact (see `docs/decisions/int8-weights.md`). Threads of
    one operator sleep while they wait.

    Args:
        path: The model; its external data, if any, must lie inside its folder.
        providers: `auto` is CUDA where the build offers it and a session really starts on it,
            else the CPU. Otherwise one provider or several, first choice first; each must work.
            `cuda:1` is the second card.
        threads: Threads within one operator, at least 1; None leaves it to onnxruntime.
        config: Further session entries (`session.*`), by onnxruntime's names.

    Raises:
        ModelError: The file is missing, truncated or no ONNX model, or its external data is
            missing or outside its folder.
        InferenceError: Two onnxruntime distributions are installed, or none; a provider that was
            asked for is not in the build or did not start.
        ValueError: `threads` is less than 1, or `providers` is empty.
    """
    path = Path(path)
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; expected at least 1")
    if not providers:
        raise ValueError("providers is empty; expected 'auto' or at least one provider")
    if not path.is_file():
        raise ModelError(f"{path} is missing; expected an ONNX model")
    ort = _import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    entries = {**_ENTRIES, **(config or {})}
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    if providers == "auto":
        return _open_auto(ort, path, options)
    chosen: list[Provider] = [providers] if isinstance(providers, str) else list(providers)
    return _open_explicit(ort, path, options, [_spelled_out(provider) for provider in chosen])


def to_host(tensor: Tensor) -> NDArray[Any]:
    """`tensor` as an array; a copy where it lies on a device."""
    return tensor if isinstance(tensor, np.ndarray) else np.asarray(tensor.numpy())


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of all elements."""
    if isinstance(tensor, np.ndarray):
        return tensor.nbytes
    return int(tensor.tensor_size_in_bytes())


def onnxruntime_distributions() -> tuple[tuple[str, str], ...]:
    """(name, version) of every installed distribution that provides the module `onnxruntime`.

    More than one is a fault: their files lie in one folder and overwrite each other.
    """
    found = []
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name)))
    return tuple(found)


def available_providers() -> tuple[str, ...]:
    """The providers of the installed build that can run here, onnxruntime's first choice first.

    CUDA and TensorRT are left out where the machine has no such device; others are as the build
    names them.

    Raises:
        InferenceError: As `open_session`.
    """
    names = _import_onnxruntime().get_available_providers()
    return tuple(name for name in names if name not in _NVIDIA or has_cuda_device())


@cache
def has_cuda_device() -> bool:
    """Whether NVIDIA's driver is here and counts at least one device; says nothing, asks once."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    try:
        is_up = cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
    except AttributeError:
        return False
    return is_up and count.value > 0


def _device_of(session: Any) -> tuple[str, int] | None:  # noqa: ANN401  # onnxruntime has no types
    """Where the session's outputs can stay; None for host memory."""
    if _CUDA not in session.get_providers():
        return None
    options = session.get_provider_options().get(_CUDA, {})
    return "cuda", int(options.get("device_id", 0))


def _spelled_out(provider: Provider) -> Provider:
    """A short name of ours in onnxruntime's words; anything else as it is."""
    if provider == "cpu":
        return _CPU
    if isinstance(provider, str) and (found := re.fullmatch(r"cuda(?::(\d+))?", provider)):
        return _CUDA, {**_EXACT, "device_id": found[1] or "0"}
    return provider


def _dtype_name(type_: str) -> str:
    """`tensor(float16)` and so on in numpy's words."""
    name = type_.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


def _describe_tensor(tensor: Tensor) -> str:
    if isinstance(tensor, np.ndarray):
        return f"{tensor.dtype}{list(tensor.shape)}"
    return f"{tensor.data_type()}{list(tensor.shape())}"


def _import_onnxruntime() -> ModuleType:
    found = onnxruntime_distributions()
    if len(found) > 1:
        names = " and ".join(f"{name} {version}" for name, version in found)
        fix = " ".join(name for name, _ in found)
        raise InferenceError(
            f"{names} are both installed and overwrite each other; expected one: "
            f"`pip uninstall {fix}`, then install the one that is wanted"
        )
    try:
        import onnxruntime  # noqa: PLC0415  # `import similar_fast` must stay light
    except ImportError as err:
        raise InferenceError(f"onnxruntime cannot be imported: {err}") from err
    module: ModuleType = onnxruntime
    return module


def _open_auto(ort: ModuleType, path: Path, options: object) -> Session:
    if _CUDA in ort.get_available_providers() and has_cuda_device():
        try:
            with _quiet(ort):
                return _open_explicit(ort, path, options, [_spelled_out("cuda")])
        except InferenceError as err:
            _log.info("running on the CPU, because CUDA did not start: %s", err)
    return _create(ort, path, options, [_CPU])


def _open_explicit(
    ort: ModuleType,
    path: Path,
    options: object,
    providers: list[Provider],
) -> Session:
    names = [p if isinstance(p, str) else p[0] for p in providers]
    available = ort.get_available_providers()
    for name in names:
        if name not in available:
            raise InferenceError(
                f"{name} is not in this build of onnxruntime; expected auto, cpu, cuda, cuda:N or "
                f"one of {', '.join(available)}"
            )
    if _CUDA in names and hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it did not find
            ort.preload_dlls()
    session = _create(ort, path, options, providers)
    for name in names:
        if name not in session.providers:
            raise InferenceError(
                f"{name} was asked for and did not start; onnxruntime offers "
                f"{list(session.providers)} instead (its log says why)"
            )
    return session


def _create(
    ort: ModuleType,
    path: Path,
    options: object,
    providers: list[Provider],
) -> Session:
    arguments = [p if isinstance(p, str) else (p[0], dict(p[1])) for p in providers]
    try:
        session = ort.InferenceSession(
            str(path), sess_options=options, providers=arguments, enable_fallback=0
        )
    except Exception as err:  # onnxruntime's exceptions share no base but this one
        faults = _MODEL_FAULTS_ON_CPU if providers == [_CPU] else _MODEL_FAULTS
        if type(err).__name__ in faults:
            size = path.stat().st_size
            raise ModelError(
                f"{path} ({size} bytes) is no ONNX model that onnxruntime {ort.__version__} "
                f"can run: {err}"
            ) from err
        raise InferenceError(f"no session for {path} on {arguments}: {err}") from err
    session.disable_fallback()
    return Session(session, path)


@contextlib.contextmanager
def _quiet(ort: ModuleType) -> Iterator[None]:
    """Keeps onnxruntime's default logger silent while a provider is tried."""
    ort.set_default_logger_severity(_QUIET)
    try:
        yield
    finally:
        ort.set_default_logger_severity(_WARNING)
