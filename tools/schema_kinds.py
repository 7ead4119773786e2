"""The kinds whose schemas the API server carries, by group and version. Everything they refer to comes along."""

KINDS: dict[str, tuple[str, ...]] = {
    "v1": (
        "Namespace", "Node", "Pod", "Service", "Endpoints", "ConfigMap", "Secret", "ServiceAccount", "Event",
        "PersistentVolume", "PersistentVolumeClaim", "ResourceQuota", "LimitRange", "PodTemplate",
        "ReplicationController", "Binding", "ComponentStatus", "DeleteOptions", "Status",
    ),
    "meta.k8s.io/v1": ("PartialObjectMetadata", "PartialObjectMetadataList"),
    "apps/v1": ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "ControllerRevision"),
    "batch/v1": ("Job", "CronJob"),
    "autoscaling/v1": ("Scale", "HorizontalPodAutoscaler"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "policy/v1": ("PodDisruptionBudget", "Eviction"),
    "discovery.k8s.io/v1": ("EndpointSlice",),
    "networking.k8s.io/v1": ("NetworkPolicy", "Ingress", "IngressClass", "IPAddress", "ServiceCIDR"),
    "rbac.authorization.k8s.io/v1": ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"),
    "coordination.k8s.io/v1": ("Lease",),
    "events.k8s.io/v1": ("Event",),
    "scheduling.k8s.io/v1": ("PriorityClass",),
    "node.k8s.io/v1": ("RuntimeClass",),
    "storage.k8s.io/v1": ("StorageClass", "CSIDriver", "CSINode", "VolumeAttachment", "CSIStorageCapacity"),
    "authentication.k8s.io/v1": ("TokenReview", "TokenRequest", "SelfSubjectReview"),
    "authorization.k8s.io/v1": (
        "SubjectAccessReview", "LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview",
    ),
    "apiextensions.k8s.io/v1": ("CustomResourceDefinition",),
    "admissionregistration.k8s.io/v1": (
        "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ),
    "apiregistration.k8s.io/v1": ("APIService",),
    "certificates.k8s.io/v1": ("CertificateSigningRequest",),
    "flowcontrol.apiserver.k8s.io/v1": ("FlowSchema", "PriorityLevelConfiguration"),
}  # fmt: skip
