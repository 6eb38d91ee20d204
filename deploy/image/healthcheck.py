"""Exits with 0 if `serve` is alive, and with 1 otherwise: the health check of the image, which has no shell and no curl.

An argument replaces the path: /readyz is 503 while the tunnels drain. Another one replaces the address of --admin.
"""

import http.client
import sys

path, address = [*sys.argv[1:], *("/healthz", "127.0.0.1:9128")[len(sys.argv) - 1 :]]
connection = http.client.HTTPConnection(address, timeout=4)
try:
    connection.request("GET", path)
    response = connection.getresponse()
    sys.exit(0 if response.status == 200 else f"{address}: {response.status} {response.reason}")
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{address}: {error}")
