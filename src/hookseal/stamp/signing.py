"""The key that signs a PDF, from PEM files: read, matched with its certificate, and never shown."""

from dataclasses import dataclass, field

from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pyhanko.sign.signers.pdf_cms import SimpleSigner
from pyhanko_certvalidator.registry import SimpleCertificateStore

from hookseal.clock import Instant, to_datetime
from hookseal.errors import ConfigurationError

_KEY, _CERTIFICATE = "signing key", "certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key, its certificate, and what stands between that and a root. at: when it signs, as its signature claims."""

    signer: SimpleSigner = field(repr=False)
    at: Instant


def signing_key(key: bytes, certificates: bytes, passphrase: bytes | None, now: Instant) -> SigningKey:
    """PEM in: the key (RSA or elliptic curve), and its certificate, first, with its chain behind it, if any.

    ConfigurationError when they do not open, do not belong together, or the certificate is not valid at `now`: such a
    signature would be made, and believed by nobody.
    """
    try:
        private = load_pem_private_key(key, passphrase)
    except TypeError:
        remedy = "is encrypted; give --passphrase" if passphrase is None else "is not encrypted; give no passphrase"
        raise ConfigurationError(_KEY, "", remedy) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(_KEY, "", "does not open; give a PEM private key and its own passphrase") from None
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ConfigurationError(_KEY, "", "is of a kind that PDF readers do not know; use RSA or an elliptic curve")
    try:
        chain = x509.load_pem_x509_certificates(certificates)
        ours = chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(_CERTIFICATE, "", "cannot be read; give a PEM certificate") from None
    if ours != private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise ConfigurationError(
            _CERTIFICATE, "", "is of another key; give the one of the signing key, first in its file"
        )
    if not chain[0].not_valid_before_utc <= to_datetime(now) <= chain[0].not_valid_after_utc:
        raise ConfigurationError(_CERTIFICATE, "", "is not valid now; renew it, or set this machine's clock")
    own, *others = (asn1_x509.Certificate.load(one.public_bytes(Encoding.DER)) for one in chain)
    plain = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(
        signer=SimpleSigner(own, asn1_keys.PrivateKeyInfo.load(plain), SimpleCertificateStore.from_certs(others)),
        at=now,
    )
