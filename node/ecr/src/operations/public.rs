//! The operations of ECR Public. What is done in a public registry as it is in a
//! private one has its handler there.

mod catalog;
mod images;
mod registry;
mod repositories;

use super::{Handler, images as image, layers, policies, tags, works};

pub(super) const TABLE: &[(&str, Handler)] = &[
    ("BatchCheckLayerAvailability", works!(layers::check)),
    ("BatchDeleteImage", works!(image::delete)),
    ("CompleteLayerUpload", works!(layers::complete)),
    ("CreateRepository", works!(repositories::create)),
    ("DeleteRepository", works!(repositories::delete)),
    ("DeleteRepositoryPolicy", works!(policies::delete)),
    ("DescribeImageTags", works!(images::tags)),
    ("DescribeImages", works!(image::describe)),
    ("DescribeRegistries", works!(registry::describe)),
    ("DescribeRepositories", works!(repositories::describe)),
    ("GetAuthorizationToken", works!(registry::token)),
    ("GetRegistryCatalogData", works!(catalog::get_registry)),
    ("GetRepositoryCatalogData", works!(catalog::get)),
    ("GetRepositoryPolicy", works!(policies::get)),
    ("InitiateLayerUpload", works!(layers::initiate)),
    ("ListTagsForResource", works!(tags::list)),
    ("PutImage", works!(image::put)),
    ("PutRegistryCatalogData", works!(catalog::put_registry)),
    ("PutRepositoryCatalogData", works!(catalog::put)),
    ("SetRepositoryPolicy", works!(policies::set)),
    ("TagResource", works!(tags::tag)),
    ("UntagResource", works!(tags::untag)),
    ("UploadLayerPart", works!(layers::upload)),
];
