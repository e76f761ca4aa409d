//! Docker's verbs: what each reads, and what it answers
//! (docker/docker-credential-helpers, `credentials/credentials.go`).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::arguments::Verb;
use crate::environment;
use crate::failure::Failure;
use crate::named::Named;
use crate::server::Server;
use crate::{key, region, request, token};

/// A login with a token of three kilobytes is what `store` may be handed.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// The user of every authorization token.
const TOKEN_USER: &str = "AWS";

/// A login, as docker writes and reads it.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Login {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

pub(crate) fn run(verb: &Verb) -> Result<(), Failure> {
    let answer = match verb {
        Verb::Get => get(&input()?)?,
        Verb::Store => return store(&input()?),
        Verb::Erase => return erase(&input()?),
        Verb::List => list()?,
        Verb::Version => version(),
    };
    writeln!(io::stdout().lock(), "{answer}").map_err(Failure::Output)
}

fn get(input: &str) -> Result<String, Failure> {
    let server_url = input.trim();
    if server_url.is_empty() {
        return Err(Failure::ServerUrlMissing);
    }
    let server: Server = server_url.parse()?;
    let server = Named::read()?.admit(server)?;
    let key = key::read()?;
    let region = region::of(&server)?;
    let timeout = environment::timeout()?;
    let answer = request::send(&server, &region, &key, timeout)?;
    let token = token::read(&answer, &server, &key)?;
    let login = Login {
        server_url: server_url.to_owned(),
        username: token.user,
        secret: token.password,
    };
    serde_json::to_string(&login).map_err(|cause| Failure::Output(cause.into()))
}

/// `docker login` ends with this. A token is not kept, and the next one comes
/// just so; any other login would be lost, which is said.
fn store(input: &str) -> Result<(), Failure> {
    // The cause might repeat a part of the password.
    let login: Login = serde_json::from_str(input).map_err(|_| Failure::LoginMalformed)?;
    if login.server_url.trim().is_empty() {
        return Err(Failure::ServerUrlMissing);
    }
    match login.username.as_str() {
        "" => Err(Failure::UsernameMissing),
        TOKEN_USER => Named::read()?
            .admit(login.server_url.parse()?)
            .map(|_| ())
            .map_err(|failure| match failure {
                Failure::NotFound { .. } => Failure::KeepsNothing,
                other => other,
            }),
        _ => Err(Failure::KeepsNothing),
    }
}

fn erase(input: &str) -> Result<(), Failure> {
    match input.trim() {
        "" => Err(Failure::ServerUrlMissing),
        _ => Ok(()),
    }
}

/// Docker asks for the login of each of these before it builds.
fn list() -> Result<String, Failure> {
    let logins: BTreeMap<String, &str> = Named::read()?
        .servers()
        .map(|server| (server, TOKEN_USER))
        .collect();
    serde_json::to_string(&logins).map_err(|cause| Failure::Output(cause.into()))
}

/// Name, package and version, as docker's own helpers print them.
fn version() -> String {
    format!(
        "{} ({}) {}",
        env!("CARGO_BIN_NAME"),
        env!("CARGO_PKG_REPOSITORY"),
        env!("CARGO_PKG_VERSION")
    )
}

fn input() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(Failure::Input)?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::InputMalformed);
    }
    String::from_utf8(bytes).map_err(|_| Failure::InputMalformed)
}
