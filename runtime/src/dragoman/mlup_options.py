"""The options of the mlup dialect: pymlup's own, their names in camelCase."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from dragoman.memcached_options import Memcached
from dragoman.part import Part

NUMPY_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool_", "str_")
MAX_KEEP_SECONDS = 30 * 24 * 3600  # beyond it memcached would take a time to live for a date
SHARED_RESULTS = "`is_long_predict` needs `scale.replicas: 1` or a shared result store (memcached)"

Dtype = Literal[
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool_", "str_",
    "Float32Dtype", "Float64Dtype", "Int8Dtype", "Int16Dtype", "Int32Dtype", "Int64Dtype", "StringDtype", "BooleanDtype",
]  # fmt: skip


class Column(Part, frozen=True):
    """One column of the rows."""

    name: str
    type: Literal["int", "float", "bool", "str", "list"]
    required: bool = True  # False: it may be absent, though not null
    default: Any = None  # its value where it is absent; None: none, unless it is not required


class Mlup(Part, frozen=True):
    """Options of the mlup dialect."""

    # how requests are served
    mode: Literal["directly_to_predict", "worker_and_queue", "batching"] = "directly_to_predict"
    max_queue_size: int = 100  # requests that wait, in each worker
    ttl_predicted_data: int = 60  # seconds
    ttl_client_wait: float = 30.0  # seconds
    min_batch_len: int = 10  # rows
    batch_worker_timeout: float = 1.0  # seconds
    is_long_predict: bool = False
    memcached: Memcached | None = None  # where the results of long predicts are kept; None: beside this server's workers
    throttling_max_requests: int | None = None  # in each worker
    throttling_max_request_len: int | None = None  # rows
    show_docs: bool = True
    debug: bool = False  # /info says all of these
    compatibility: Literal["0.4"] | None = None  # the shapes of pymlup 0.4; None: the documented ones

    # what rows are
    columns: tuple[Column, ...] = ()
    column_validation: bool = False
    predict_method_name: str = "predict"
    auto_detect_predict_params: bool = True
    data_transformer_for_predict: Literal["numpy", "pandas", "src"] = "numpy"
    data_transformer_for_predicted: Literal["numpy", "pandas", "src"] = "numpy"
    dtype_for_predict: Dtype | None = None

    # what /info says, and nothing else follows from
    name: str = "MyFirstMLupModel"
    version: str = "1.0.0.0"
    type: str = "sklearn"
    web_app_version: str = "1.0.0.0"
    host: str = "localhost"
    port: int = 8009
    storage_type: str = "mlup.ml.storage.memory.MemoryStorage"
    binarization_type: str = "auto"
    use_thread_loop: bool = True
    max_thread_loop_workers: int | None = None
    timeout_for_shutdown_daemon: float = 3.0
    item_id_col_name: str = "mlup_item_id"

    def problems(self) -> Iterator[str]:
        for field in _LIMITS:
            value = getattr(self, field)
            if value is not None and value <= 0:
                yield f"{_camel(field)}: The param {field} must be greater than 0. Now it is {value:g}."
        if self.ttl_predicted_data > MAX_KEEP_SECONDS:
            yield f"ttlPredictedData: must be at most {MAX_KEEP_SECONDS} (30 days), got {self.ttl_predicted_data}"
        if self.column_validation and not self.columns:
            yield "columnValidation: rows are held against columns, and there are none; name them, or leave columnValidation out"
        seen: set[str] = set()
        for i, column in enumerate(self.columns):
            if column.name in seen:
                yield f"columns[{i}].name: each name once, and {column.name!r} is there twice"
            seen.add(column.name)
        if self.dtype_for_predict is not None:
            kind = "numpy" if self.dtype_for_predict in NUMPY_DTYPES else "pandas"
            if kind != self.data_transformer_for_predict:
                yield f"dtypeForPredict: {self.dtype_for_predict} is {kind}'s; set dataTransformerForPredict: {kind}, or another type"
        if self.memcached is not None:
            yield from (f"memcached.{problem}" for problem in self.memcached.problems())

    def replica_problems(self) -> Iterator[str]:
        """Where there are several replicas, or none: each would have results of its own."""
        if self.is_long_predict and self.memcached is None:
            yield f"isLongPredict: {SHARED_RESULTS}"


_LIMITS = (
    "max_queue_size",
    "ttl_predicted_data",
    "ttl_client_wait",
    "min_batch_len",
    "batch_worker_timeout",
    "throttling_max_requests",
    "throttling_max_request_len",
)


def _camel(field: str) -> str:
    first, *rest = field.split("_")
    return first + "".join(part.capitalize() for part in rest)
