"""The one way in which TLS is spoken outwards: 1.2 or later, the certificate and its host name always checked.

Nothing here can be switched off. What may be added is trust: a file with the certificate authorities of the operator's
own services, in place of the system's.
"""

import ssl
from pathlib import Path


def strict_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """ca_file: PEM; None for the system's authorities. Reads files. OSError or ssl.SSLError when `ca_file` is no PEM.

    Made by hand and not by `ssl.create_default_context`, which writes session keys to the file that SSLKEYLOGFILE names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca_file)
    return context
