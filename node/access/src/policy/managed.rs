//! The managed policies that AWS brings along and every account has: what people
//! attach to users and roles for ECR, word for word.

use std::sync::LazyLock;

use super::document::{Document, DocumentKind};

/// A policy of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagedPolicy {
    pub name: &'static str,
    /// `/`, or `/aws-service-role/`.
    pub path: &'static str,
    /// The default version, the only one there is.
    pub version: &'static str,
    pub document: &'static str,
}

const ARN_PREFIX: &str = "arn:aws:iam::aws:policy";
const SERVICE_ROLE: &str = "/aws-service-role/";

/// All of them, by name.
pub const MANAGED_POLICIES: &[ManagedPolicy] = &[
    ManagedPolicy {
        name: "AWSECRPullThroughCache_ServiceRolePolicy",
        path: SERVICE_ROLE,
        version: "v3",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "ECR",
      "Effect": "Allow",
      "Action": [
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
        "ecr:InitiateLayerUpload",
        "ecr:UploadLayerPart",
        "ecr:CompleteLayerUpload",
        "ecr:PutImage",
        "ecr:BatchGetImage",
        "ecr:BatchImportUpstreamImage",
        "ecr:GetDownloadUrlForLayer",
        "ecr:GetImageCopyStatus"
      ],
      "Resource": "*"
    },
    {
      "Sid": "SecretsManager",
      "Effect": "Allow",
      "Action": ["secretsmanager:GetSecretValue"],
      "Resource": "arn:aws:secretsmanager:*:*:secret:ecr-pullthroughcache/*",
      "Condition": {
        "StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}
      }
    }
  ]
}"#,
    },
    ManagedPolicy {
        name: "AdministratorAccess",
        path: "/",
        version: "v1",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": "*",
      "Resource": "*"
    }
  ]
}"#,
    },
    ManagedPolicy {
        name: "AmazonEC2ContainerRegistryFullAccess",
        path: "/",
        version: "v3",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["ecr:*", "cloudtrail:LookupEvents"],
      "Resource": "*"
    },
    {
      "Effect": "Allow",
      "Action": ["iam:CreateServiceLinkedRole"],
      "Resource": "*",
      "Condition": {
        "StringEquals": {"iam:AWSServiceName": ["replication.ecr.amazonaws.com"]}
      }
    }
  ]
}"#,
    },
    ManagedPolicy {
        name: "AmazonEC2ContainerRegistryPowerUser",
        path: "/",
        version: "v3",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
        "ecr:GetDownloadUrlForLayer",
        "ecr:GetRepositoryPolicy",
        "ecr:DescribeRepositories",
        "ecr:ListImages",
        "ecr:DescribeImages",
        "ecr:BatchGetImage",
        "ecr:GetLifecyclePolicy",
        "ecr:GetLifecyclePolicyPreview",
        "ecr:ListTagsForResource",
        "ecr:DescribeImageScanFindings",
        "ecr:InitiateLayerUpload",
        "ecr:UploadLayerPart",
        "ecr:CompleteLayerUpload",
        "ecr:PutImage"
      ],
      "Resource": "*"
    }
  ]
}"#,
    },
    ManagedPolicy {
        name: "AmazonEC2ContainerRegistryPullOnly",
        path: "/",
        version: "v1",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "ecr:GetAuthorizationToken",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
        "ecr:BatchImportUpstreamImage"
      ],
      "Resource": "*"
    }
  ]
}"#,
    },
    ManagedPolicy {
        name: "AmazonEC2ContainerRegistryReadOnly",
        path: "/",
        version: "v3",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
        "ecr:GetDownloadUrlForLayer",
        "ecr:GetRepositoryPolicy",
        "ecr:DescribeRepositories",
        "ecr:ListImages",
        "ecr:DescribeImages",
        "ecr:BatchGetImage",
        "ecr:GetLifecyclePolicy",
        "ecr:GetLifecyclePolicyPreview",
        "ecr:ListTagsForResource",
        "ecr:DescribeImageScanFindings"
      ],
      "Resource": "*"
    }
  ]
}"#,
    },
    ManagedPolicy {
        name: "AmazonElasticContainerRegistryPublicFullAccess",
        path: "/",
        version: "v1",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["ecr-public:*", "sts:GetServiceBearerToken"],
      "Resource": "*"
    }
  ]
}"#,
    },
    ManagedPolicy {
        name: "AmazonElasticContainerRegistryPublicPowerUser",
        path: "/",
        version: "v1",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "ecr-public:GetAuthorizationToken",
        "sts:GetServiceBearerToken",
        "ecr-public:BatchCheckLayerAvailability",
        "ecr-public:GetRepositoryPolicy",
        "ecr-public:DescribeRepositories",
        "ecr-public:DescribeRegistries",
        "ecr-public:DescribeImages",
        "ecr-public:DescribeImageTags",
        "ecr-public:GetRepositoryCatalogData",
        "ecr-public:GetRegistryCatalogData",
        "ecr-public:InitiateLayerUpload",
        "ecr-public:UploadLayerPart",
        "ecr-public:CompleteLayerUpload",
        "ecr-public:PutImage"
      ],
      "Resource": "*"
    }
  ]
}"#,
    },
    ManagedPolicy {
        name: "AmazonElasticContainerRegistryPublicReadOnly",
        path: "/",
        version: "v1",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "ecr-public:GetAuthorizationToken",
        "sts:GetServiceBearerToken",
        "ecr-public:BatchCheckLayerAvailability",
        "ecr-public:GetRepositoryPolicy",
        "ecr-public:DescribeRepositories",
        "ecr-public:DescribeRegistries",
        "ecr-public:DescribeImages",
        "ecr-public:DescribeImageTags",
        "ecr-public:GetRepositoryCatalogData",
        "ecr-public:GetRegistryCatalogData"
      ],
      "Resource": "*"
    }
  ]
}"#,
    },
    ManagedPolicy {
        name: "ECRReplicationServiceRolePolicy",
        path: SERVICE_ROLE,
        version: "v1",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["ecr:BatchDeleteImage", "ecr:CreateRepository", "ecr:ReplicateImage"],
      "Resource": "*"
    }
  ]
}"#,
    },
    ManagedPolicy {
        name: "ECRTemplateServiceRolePolicy",
        path: SERVICE_ROLE,
        version: "v1",
        document: r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "CreateRepositoryWithTemplate",
      "Effect": "Allow",
      "Action": ["ecr:CreateRepository"],
      "Resource": "*"
    }
  ]
}"#,
    },
];

/// They never change: compiled once.
static COMPILED: LazyLock<Vec<(String, &ManagedPolicy, Document)>> = LazyLock::new(|| {
    let compile = |policy: &'static ManagedPolicy| {
        let document = Document::parse(policy.document, DocumentKind::Managed).ok()?;
        Some((policy.arn(), policy, document))
    };
    MANAGED_POLICIES.iter().filter_map(compile).collect()
});

/// The policy of AWS with this ARN.
pub fn managed_policy(arn: &str) -> Option<(&'static ManagedPolicy, &'static Document)> {
    let found = COMPILED.iter().find(|(own, ..)| own == arn);
    found.map(|(_, policy, document)| (*policy, document))
}

// === impl ManagedPolicy ===

impl ManagedPolicy {
    pub fn arn(&self) -> String {
        format!("{ARN_PREFIX}{}{}", self.path, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::{MANAGED_POLICIES, ManagedPolicy, managed_policy};

    #[test]
    fn all_are_found_by_their_arns_and_compile() {
        for policy in MANAGED_POLICIES {
            let (found, document) = managed_policy(&policy.arn()).unwrap();
            assert_eq!(found, policy);
            assert!(document.size() > 0);
        }
        assert!(managed_policy("arn:aws:iam::aws:policy/ReadOnlyAccess").is_none());
        assert!(managed_policy("AdministratorAccess").is_none());
    }

    #[test]
    fn arns_are_those_of_aws() {
        let arns: Vec<String> = MANAGED_POLICIES.iter().map(ManagedPolicy::arn).collect();
        for arn in [
            "arn:aws:iam::aws:policy/AdministratorAccess",
            "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly",
            "arn:aws:iam::aws:policy/aws-service-role/ECRReplicationServiceRolePolicy",
        ] {
            assert!(arns.iter().any(|own| own == arn), "{arn}");
        }
        assert!(MANAGED_POLICIES.is_sorted_by_key(|policy| policy.name));
    }
}
