from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from wherry.kube.pki import Authority, KeyPair, PkiError, key_id, new_signing_key, public_pem, write_private


@pytest.fixture(scope="module")
def authority():
    return Authority.create("wherry-server-ca")


def test_a_server_certificate_is_valid_for_its_names(authority):
    pair = authority.issue_server("kube-apiserver", ["kubernetes", "10.43.0.1", "fd00::1", "kubernetes"])
    leaf = x509.load_pem_x509_certificate(pair.certificate)
    store = Store([x509.load_pem_x509_certificate(authority.certificate)])
    PolicyBuilder().store(store).build_server_verifier(x509.DNSName("kubernetes")).verify(leaf, [])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["kubernetes", "10.43.0.1", "fd00::1"]


def test_a_client_certificate_names_user_and_groups(authority):
    pair = authority.issue_client("jane", ["devs", "ops"])
    leaf = x509.load_pem_x509_certificate(pair.certificate)
    found = [(attribute.rfc4514_attribute_name, attribute.value) for attribute in leaf.subject]
    assert found == [("O", "devs"), ("O", "ops"), ("CN", "jane")]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [purpose.dotted_string for purpose in usage] == ["1.3.6.1.5.5.7.3.2"]
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))


def test_lifetimes(authority):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert authority.issue_client("jane", now=now).expires == now + timedelta(days=365)
    assert Authority.create("ca", now=now).pair.expires == now + timedelta(days=3650)


def test_files_come_back_and_keys_are_private(authority, tmp_path):
    certificate, key = tmp_path / "tls" / "ca.crt", tmp_path / "tls" / "ca.key"
    made = Authority.load_or_create(certificate, key, "ca")
    assert Authority.load_or_create(certificate, key, "ca").certificate == made.certificate
    assert (key.stat().st_mode & 0o777, certificate.stat().st_mode & 0o777) == (0o600, 0o644)
    assert sorted(path.name for path in certificate.parent.iterdir()) == ["ca.crt", "ca.key"]


def test_damaged_files_are_refused(authority, tmp_path):
    certificate, key = tmp_path / "ca.crt", tmp_path / "ca.key"
    Authority.load_or_create(certificate, key, "ca")
    write_private(key, Authority.create("other").pair.key)
    with pytest.raises(PkiError, match="does not belong"):
        KeyPair.load(certificate, key)
    key.write_bytes(b"nonsense")
    with pytest.raises(PkiError, match=r"ca\.crt"):
        KeyPair.load(certificate, key)
    key.unlink()
    with pytest.raises(PkiError):
        Authority.load_or_create(certificate, key, "ca")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "directory"
    target.mkdir()
    with pytest.raises(OSError):
        write_private(target, b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_signing_keys_sign_tokens():
    private = new_signing_key()
    public = public_pem(private)
    token = jwt.encode({"sub": "x"}, private, algorithm="ES256", headers={"kid": key_id(public)})
    assert jwt.decode(token, public, algorithms=["ES256"]) == {"sub": "x"}
    assert jwt.get_unverified_header(token)["kid"] == key_id(public)
    assert len(key_id(public)) == 43
