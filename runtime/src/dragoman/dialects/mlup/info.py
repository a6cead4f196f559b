"""What /info says: name and version; with `debug` every option, by pymlup's own names and values."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.mlup_options import Mlup

_MODES = {
    "directly_to_predict": "mlup.web.architecture.directly_to_predict.DirectlyToPredictArchitecture",
    "worker_and_queue": "mlup.web.architecture.worker_and_queue.WorkerAndQueueArchitecture",
    "batching": "mlup.web.architecture.batching.BatchingSingleProcessArchitecture",
}
_TRANSFORMERS = {
    "numpy": "mlup.ml.data_transformers.numpy_data_transformer.NumpyDataTransformer",
    "pandas": "mlup.ml.data_transformers.pandas_data_transformer.PandasDataFrameTransformer",
    "src": "mlup.ml.data_transformers.src_data_transformer.SrcDataTransformer",
}
_VALUES = {"mode": _MODES, "data_transformer_for_predict": _TRANSFORMERS, "data_transformer_for_predicted": _TRANSFORMERS}

WEB = (
    "host",
    "port",
    "web_app_version",
    "column_validation",
    "custom_column_pydantic_model",
    "mode",
    "max_queue_size",
    "ttl_predicted_data",
    "ttl_client_wait",
    "min_batch_len",
    "batch_worker_timeout",
    "is_long_predict",
    "show_docs",
    "debug",
    "throttling_max_requests",
    "throttling_max_request_len",
    "timeout_for_shutdown_daemon",
    "item_id_col_name",
)
MODEL = (
    "name",
    "version",
    "type",
    "columns",
    "predict_method_name",
    "auto_detect_predict_params",
    "storage_type",
    "binarization_type",
    "use_thread_loop",
    "max_thread_loop_workers",
    "data_transformer_for_predict",
    "data_transformer_for_predicted",
    "dtype_for_predict",
)


def info(options: Mlup) -> dict[str, Any]:
    said = {
        "model_info": {name: _said(options, name) for name in ("name", "version", "type", "columns")},
        "web_app_info": {"version": options.web_app_version},
    }
    if options.debug:
        said["web_app_config"] = {name: _said(options, name) for name in WEB}
        said["model_config"] = {name: _said(options, name) for name in MODEL}
    return said


def _said(options: Mlup, name: str) -> Any:
    if name == "custom_column_pydantic_model":  # a class of the server's own code: there is none here
        return None
    value = getattr(options, name)
    if name == "columns":
        return [msgspec.to_builtins(column) for column in value] or None
    return _VALUES[name][value] if name in _VALUES else value
