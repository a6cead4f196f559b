"""Switches of every reply; set them before the app is made: `config.return_traceback_on_error = True`.

In this process they are read anew for each request; a server with workers reads them once, when it loads the file.
"""

from __future__ import annotations

import json

from dragoman.porter.utils import AppEncoder

json_encoder: type[json.JSONEncoder] = AppEncoder  # of predictions; one of your own must give JSON's own types

return_message_on_error = True
return_traceback_on_error = False  # for development: it shows the code's inside
return_user_data_on_error = False  # what the request sent
return_request_id = True
support_response_gzip = False
