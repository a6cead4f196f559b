"""Services written in Python for the porter API: after changing `porter` to `dragoman.porter` in its imports, code for it runs here.

```python
from dragoman.porter.services import ModelApp, PredictionService

app = ModelApp([PredictionService(model=my_model, name="my-model", api_version="v1")])
app.run()  # in this process; or `dragoman serve` this file, with workers
```

Needs the extra `dragoman[porter]`: Flask, which such code speaks to, and pandas, which it is given its rows in.
"""

__version__ = "0.15.3"  # of the API that is spoken: it stands in health replies as `porter_version`
