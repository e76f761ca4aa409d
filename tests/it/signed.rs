//! Requests of AWS's protocols, signed by AWS's own crate and sent as a test wants
//! them: whole, in part, or changed.

use std::time::SystemTime;

use anyhow::Result;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use entrepot_harness::AwsAccount;

const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.";
pub(crate) const MEDIA_TYPE: &str = "application/x-amz-json-1.1";

/// A call of ECR's API.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) host: String,
    /// `x-amz-target` and the like, and those that sign.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Call {
    /// To the registry at `host` (`host:port`), signed for `region`, with `more`
    /// headers that are signed as well.
    pub(crate) fn signed(
        account: &AwsAccount,
        host: &str,
        region: &str,
        operation: &str,
        body: &str,
        more: &[(&str, &str)],
    ) -> Result<Self> {
        let identity = Credentials::new(&account.key_id, &account.secret, None, None, "a test");
        let identity = identity.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("ecr")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let target = format!("{TARGET}{operation}");
        let own = [("content-type", MEDIA_TYPE), ("x-amz-target", &target)];
        let sent: Vec<(&str, &str)> = own.iter().chain(more).copied().collect();
        let url = format!("http://{host}/");
        let content = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new("POST", &url, sent.iter().copied(), content)?;
        let (instructions, _) = sign(request, &parameters)?.into_parts();
        let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let headers = sent.iter().copied().chain(instructions.headers());
        Ok(Self {
            host: host.to_owned(),
            headers: headers.map(text).collect(),
            body: body.to_owned(),
        })
    }

    /// With another value of a header, or one more.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As it goes over HTTP/1.1 up to its body, of which `length` bytes are
    /// promised.
    pub(crate) fn head(&self, length: usize) -> String {
        let mut head = format!("POST / HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in &self.headers {
            head = format!("{head}{name}: {value}\r\n");
        }
        format!("{head}content-length: {length}\r\n\r\n")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(self.body.len()).into_bytes();
        bytes.extend_from_slice(self.body.as_bytes());
        bytes
    }
}
