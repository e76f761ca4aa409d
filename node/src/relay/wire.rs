//! Heads and bodies between HTTP and gRPC, both ways.
//!
//! Headers that speak of one connection stay with it (RFC 9110, 7.6.1); what a
//! peer sends is checked again as if a client had sent it.

use std::array::TryFromSliceError;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::body::Body;
use bytes::Bytes;
use entrepot_proto::peer::{
    Blank, RelayHeader, RelayReply, RelayReplyHead, RelayRequest, RelayRequestHead, relay_reply,
    relay_request,
};
use entrepot_replication::wire::Pieces;
use entrepot_service::Origin;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use http::header::{
    CONNECTION, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use tonic::{Status, Streaming};

/// Of one connection alone.
const HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A message of either direction, so that bodies are written once.
pub(super) trait Part: Sized {
    fn data(bytes: Bytes) -> Self;
    fn end() -> Self;
}

/// What a message of a body says.
enum Said {
    Data(Bytes),
    End,
    Other,
}

impl Part for relay_request::Part {
    fn data(bytes: Bytes) -> Self {
        Self::Data(bytes)
    }

    fn end() -> Self {
        Self::End(Blank {})
    }
}

impl Part for relay_reply::Part {
    fn data(bytes: Bytes) -> Self {
        Self::Data(bytes)
    }

    fn end() -> Self {
        Self::End(Blank {})
    }
}

impl From<RelayRequest> for Said {
    fn from(message: RelayRequest) -> Self {
        match message.part {
            Some(relay_request::Part::Data(data)) => Self::Data(data),
            Some(relay_request::Part::End(_)) => Self::End,
            Some(relay_request::Part::Head(_)) | None => Self::Other,
        }
    }
}

impl From<RelayReply> for Said {
    fn from(message: RelayReply) -> Self {
        match message.part {
            Some(relay_reply::Part::Data(data)) => Self::Data(data),
            Some(relay_reply::Part::End(_)) => Self::End,
            Some(relay_reply::Part::Head(_)) | None => Self::Other,
        }
    }
}

pub(super) fn request_head(parts: &Parts, origin: &Origin) -> RelayRequestHead {
    let mut headers = headers(&parts.headers);
    if !parts.headers.contains_key(HOST)
        && let Some(authority) = parts.uri.authority()
    {
        // HTTP/2 says it in the target, of which the path alone goes over.
        headers.push(RelayHeader {
            name: HOST.to_string(),
            value: authority.to_string().into(),
        });
    }
    let target = parts.uri.path_and_query();
    RelayRequestHead {
        method: parts.method.to_string(),
        target: target.map_or("/", |target| target.as_str()).to_owned(),
        headers,
        secure: origin.is_secure,
        source: match origin.address {
            Some(IpAddr::V4(address)) => address.octets().to_vec().into(),
            Some(IpAddr::V6(address)) => address.octets().to_vec().into(),
            None => Bytes::new(),
        },
    }
}

/// The request that a peer passes on.
///
/// # Errors
/// `InvalidArgument` for what is none.
pub(super) fn request(
    head: RelayRequestHead,
    body: Streaming<RelayRequest>,
) -> Result<(Request<Body>, Origin), Status> {
    let invalid = |what| Status::invalid_argument(format!("the relayed {what} is none"));
    let mut request = Request::new(received(body));
    let method = Method::from_bytes(head.method.as_bytes());
    *request.method_mut() = method.map_err(|_| invalid("method"))?;
    let target: Uri = head.target.parse().map_err(|_| invalid("target"))?;
    if target.authority().is_some() || !target.path().starts_with('/') {
        return Err(invalid("target"));
    }
    *request.uri_mut() = target;
    *request.headers_mut() = map(head.headers).ok_or_else(|| invalid("header"))?;
    let origin = Origin {
        address: address(&head.source).map_err(|_| invalid("source"))?,
        is_secure: head.secure,
        ..Origin::default()
    };
    Ok((request, origin))
}

/// A response as it goes over.
pub(super) fn reply(response: Response<Body>) -> BoxStream<'static, Result<RelayReply, Status>> {
    let (parts, body) = response.into_parts();
    let head = RelayReplyHead {
        status: parts.status.as_u16().into(),
        headers: headers(&parts.headers),
    };
    outgoing(relay_reply::Part::Head(head), body)
        .map(|part| Ok(RelayReply { part: Some(part) }))
        .boxed()
}

/// The response that a peer gives.
///
/// # Errors
/// `Internal` for what is none.
pub(super) fn response(
    head: RelayReplyHead,
    body: Streaming<RelayReply>,
) -> Result<Response<Body>, Status> {
    let invalid = |what| Status::internal(format!("the relayed {what} is none"));
    let mut response = Response::new(received(body));
    let status = u16::try_from(head.status).ok();
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    *response.status_mut() = status.ok_or_else(|| invalid("status"))?;
    *response.headers_mut() = map(head.headers).ok_or_else(|| invalid("header"))?;
    Ok(response)
}

/// The head, the body in pieces, and its end if it had one.
pub(super) fn outgoing<P: Part + Send + 'static>(
    head: P,
    body: Body,
) -> impl Stream<Item = P> + Send + 'static {
    let body = Some((body.into_data_stream(), Pieces::default()));
    let body = stream::unfold(body, |state| async move {
        let (mut body, mut pieces) = state?;
        match body.next().await {
            Some(Ok(chunk)) => {
                let full: Vec<P> = pieces.push(chunk).into_iter().map(P::data).collect();
                Some((full, Some((body, pieces))))
            }
            Some(Err(_)) => None,
            None => {
                let rest = pieces.finish().map(P::data);
                Some((rest.into_iter().chain([P::end()]).collect(), None))
            }
        }
    });
    stream::iter([head]).chain(body.flat_map(stream::iter))
}

/// The body of what a peer sends; one without its end is torn.
fn received<M>(messages: Streaming<M>) -> Body
where
    Said: From<M>,
    M: Send + 'static,
{
    let frames = stream::unfold(Some(messages), |messages| async move {
        let mut messages = messages?;
        match messages.message().await.map(|it| it.map(Said::from)) {
            Ok(Some(Said::Data(data))) => Some((Ok(data), Some(messages))),
            Ok(Some(Said::End)) => None,
            Ok(Some(Said::Other) | None) => {
                Some((Err(Error::from(ErrorKind::UnexpectedEof)), None))
            }
            Err(status) => Some((Err(Error::other(status)), None)),
        }
    });
    Body::from_stream(frames)
}

fn headers(map: &HeaderMap) -> Vec<RelayHeader> {
    // `Connection` names further ones.
    let named: Vec<String> = map
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    map.iter()
        .filter(|(name, _)| !HOP.contains(name) && !named.iter().any(|it| it == name.as_str()))
        .map(|(name, value)| RelayHeader {
            name: name.to_string(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        })
        .collect()
}

fn map(headers: Vec<RelayHeader>) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for RelayHeader { name, value } in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    Some(map)
}

/// Of 4 or 16 bytes, or of none.
fn address(bytes: &[u8]) -> Result<Option<IpAddr>, TryFromSliceError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let of_four = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    let of_sixteen = || <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into());
    of_four.or_else(|_| of_sixteen()).map(Some)
}

#[cfg(test)]
mod tests {
    use entrepot_proto::peer::RelayHeader;
    use entrepot_service::Origin;
    use http::{HeaderMap, Request};

    use super::{address, headers, map, request_head};

    #[test]
    fn what_speaks_of_one_connection_stays_with_it() {
        let mut sent = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("authorization", "Basic eA=="),
            ("accept", "a/b"),
            ("accept", "c/d"),
        ] {
            sent.append(name, value.parse().unwrap());
        }
        let passed = map(headers(&sent)).unwrap();
        let names: Vec<_> = passed
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(passed.get_all("accept").iter().count(), 2);
        assert_eq!(passed["authorization"], "Basic eA==");
    }

    #[test]
    fn a_peer_s_headers_are_headers() {
        for (name, value) in [("a b", "x"), ("a", "x\r\nb: y"), ("a", "\0"), ("", "x")] {
            let header = RelayHeader {
                name: name.to_owned(),
                value: value.to_owned().into(),
            };
            assert_eq!(map(vec![header]), None, "{name} {value:?}");
        }
    }

    #[test]
    fn the_host_goes_along_from_wherever_it_was_said() {
        let uri = "http://r.example:5000/v2/?n=1";
        let (parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
        let head = request_head(&parts, &Origin::default());
        assert_eq!(head.target, "/v2/?n=1");
        let host = &head.headers[0];
        assert_eq!(
            (host.name.as_str(), &host.value[..]),
            ("host", &b"r.example:5000"[..])
        );
    }

    #[test]
    fn the_source_is_who_asked_first() {
        let (parts, ()) = Request::get("/v2/").body(()).unwrap().into_parts();
        for text in ["192.0.2.1", "2001:db8::7:1"] {
            let origin = Origin {
                address: Some(text.parse().unwrap()),
                is_secure: true,
                ..Origin::default()
            };
            let head = request_head(&parts, &origin);
            assert!(head.secure);
            assert_eq!(address(&head.source).unwrap(), origin.address);
        }
        assert_eq!(address(&[]).unwrap(), None);
        assert!(address(&[1, 2]).is_err());
    }
}
