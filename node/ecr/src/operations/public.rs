//! The operations of ECR Public: there are no public registries yet, and each
//! operation says so.

use super::Handler;

const NO_PUBLIC: &str = "this version of Entrepot has no public registries";

pub(super) const TABLE: &[(&str, Handler)] = &[
    ("BatchCheckLayerAvailability", Handler::Refused(NO_PUBLIC)),
    ("BatchDeleteImage", Handler::Refused(NO_PUBLIC)),
    ("CompleteLayerUpload", Handler::Refused(NO_PUBLIC)),
    ("CreateRepository", Handler::Refused(NO_PUBLIC)),
    ("DeleteRepository", Handler::Refused(NO_PUBLIC)),
    ("DeleteRepositoryPolicy", Handler::Refused(NO_PUBLIC)),
    ("DescribeImageTags", Handler::Refused(NO_PUBLIC)),
    ("DescribeImages", Handler::Refused(NO_PUBLIC)),
    ("DescribeRegistries", Handler::Refused(NO_PUBLIC)),
    ("DescribeRepositories", Handler::Refused(NO_PUBLIC)),
    ("GetAuthorizationToken", Handler::Refused(NO_PUBLIC)),
    ("GetRegistryCatalogData", Handler::Refused(NO_PUBLIC)),
    ("GetRepositoryCatalogData", Handler::Refused(NO_PUBLIC)),
    ("GetRepositoryPolicy", Handler::Refused(NO_PUBLIC)),
    ("InitiateLayerUpload", Handler::Refused(NO_PUBLIC)),
    ("ListTagsForResource", Handler::Refused(NO_PUBLIC)),
    ("PutImage", Handler::Refused(NO_PUBLIC)),
    ("PutRegistryCatalogData", Handler::Refused(NO_PUBLIC)),
    ("PutRepositoryCatalogData", Handler::Refused(NO_PUBLIC)),
    ("SetRepositoryPolicy", Handler::Refused(NO_PUBLIC)),
    ("TagResource", Handler::Refused(NO_PUBLIC)),
    ("UntagResource", Handler::Refused(NO_PUBLIC)),
    ("UploadLayerPart", Handler::Refused(NO_PUBLIC)),
];
