"""The saved pipeline in the folder pipeline/, with a handler for rows that come as an IrisPredictRequest."""

import pandas as pd
from iris_pb2 import IrisPredictRequest

from dragoman.seldon import BadDataError, CustomDataHandler, Pipeline


class IrisDataHandler(CustomDataHandler):
    def get_data(self, request):
        flower = IrisPredictRequest()
        if not request.data.Unpack(flower):
            raise BadDataError
        return pd.DataFrame([{"f1": flower.f1, "f2": flower.f2, "f3": flower.f3, "f4": flower.f4}])


class Iris(Pipeline):
    data_handler = IrisDataHandler()
