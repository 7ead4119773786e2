"""What every namespace has: the service account ``default`` and the cluster's certificate authority."""

from __future__ import annotations

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller
from wherry.kube.errors import AlreadyExists, ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import ConfigMap, KubeObject, ObjectMeta, ServiceAccount
from wherry.workloads.podcontrol import is_terminating

ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class ServiceAccountController(Controller):
    """Works on namespaces; what someone deletes or changes of the two objects is made anew."""

    name = "serviceaccount"
    workers = 2

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, *, root_ca: str) -> None:
        super().__init__()
        self._client = client
        self._root_ca = root_ca
        self._namespaces = informers.informer(kinds.NAMESPACES)
        self._accounts = informers.informer(kinds.SERVICE_ACCOUNTS, field_selector=f"metadata.name={ACCOUNT}")
        self._maps = informers.informer(kinds.CONFIG_MAPS, field_selector=f"metadata.name={ROOT_CA}")
        self._namespaces.add_handler(self.enqueue)
        self._accounts.add_handler(self._content_changed)
        self._maps.add_handler(self._content_changed)

    async def prepare(self) -> None:
        """Wait for namespaces, accounts and config maps."""
        for informer in (self._namespaces, self._accounts, self._maps):
            await informer.synced()

    def _content_changed(self, old: KubeObject | None, new: KubeObject | None) -> None:
        obj = new or old
        if obj is not None:
            self.queue.add(Key("", obj.namespace))

    async def reconcile(self, key: Key) -> None:
        """Make what is missing."""
        namespace = self._namespaces.get(key)
        if namespace is None or namespace.deleting or namespace.status.phase == "Terminating":
            return
        try:
            if self._accounts.get(Key(key.name, ACCOUNT)) is None:
                await self._make_account(key.name)
            await self._keep_root_ca(key.name)
        except ApiError as error:
            # The namespace is on its way out, or gone: nothing can be made in it.
            if not isinstance(error, NotFound) and not is_terminating(error):
                raise

    async def _make_account(self, namespace: str) -> None:
        account = ServiceAccount(metadata=ObjectMeta(name=ACCOUNT, namespace=namespace))
        try:
            await self._client.create(kinds.SERVICE_ACCOUNTS, account)
        except AlreadyExists:
            return

    async def _keep_root_ca(self, namespace: str) -> None:
        data = {"ca.crt": self._root_ca}
        present = self._maps.get(Key(namespace, ROOT_CA))
        if present is None:
            meta = ObjectMeta(
                name=ROOT_CA, namespace=namespace, annotations={"kubernetes.io/description": _DESCRIPTION}
            )
            try:
                await self._client.create(kinds.CONFIG_MAPS, ConfigMap(metadata=meta, data=data))
            except AlreadyExists:
                return
        elif present.data != data:
            stale: dict[str, str | None] = dict.fromkeys(present.data)
            await self._client.patch(kinds.CONFIG_MAPS, ROOT_CA, {"data": stale | data}, namespace=namespace)
