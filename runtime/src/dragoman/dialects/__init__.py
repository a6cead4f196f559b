"""The prediction APIs, one module each."""

from __future__ import annotations

from dragoman.dialects.certifai import Certifai
from dragoman.dialects.datarobot import DataRobot
from dragoman.dialects.dialect import Dialect
from dragoman.dialects.mlup import Mlup
from dragoman.dialects.porter import Porter
from dragoman.dialects.seldon import Seldon
from dragoman.dialects.seldon_grpc import SeldonGrpc
from dragoman.dialects.v1 import V1
from dragoman.dialects.v2 import V2
from dragoman.dialects.v2_grpc import V2Grpc

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (V1(), V2(), V2Grpc(), Porter(), Mlup(), Certifai(), DataRobot(), Seldon(), SeldonGrpc())
}
