"""The files of a server, laid out as K3s lays out its data folder."""

from __future__ import annotations

from pathlib import Path


class ServerPaths:
    """Paths below ``<data-dir>/server``."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "server"
        self.tls = self.root / "tls"
        self.database = self.root / "db" / "state.db"
        self.tokens = self.root / "cred" / "tokens.csv"
        self.controllers_token = self.root / "cred" / "controllers.token"
        self.addons_token = self.root / "cred" / "addons.token"
        self.join_token = self.root / "token"
        self.manifests = self.root / "manifests"
        self.static = self.root / "static"
        self.server_ca = self.tls / "server-ca.crt"
        self.server_ca_key = self.tls / "server-ca.key"
        self.client_ca = self.tls / "client-ca.crt"
        self.client_ca_key = self.tls / "client-ca.key"
        self.serving = self.tls / "serving-kube-apiserver.crt"
        self.serving_key = self.tls / "serving-kube-apiserver.key"
        self.kubelet_client = self.tls / "client-kube-apiserver.crt"
        self.kubelet_client_key = self.tls / "client-kube-apiserver.key"
        self.admin = self.tls / "client-admin.crt"
        self.admin_key = self.tls / "client-admin.key"
        self.service_account_key = self.tls / "service.key"

    def make(self) -> None:
        """Make the folders, for their owner only."""
        for folder in (self.tls, self.database.parent, self.tokens.parent, self.manifests, self.static):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
