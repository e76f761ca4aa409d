//! Logs go to standard error; standard output belongs to what was asked for.

use std::io::stderr;

use tracing_subscriber::EnvFilter;

use crate::arguments::{LogArguments, LogFormat};

/// Starts logging; `default` is what is logged when nobody says.
pub(crate) fn start(arguments: &LogArguments, default: &str) {
    let filter = arguments.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        eprintln!("entrepot-node: --log {filter}: {error}; using {default}");
        EnvFilter::new(default)
    });
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    match arguments.log_format {
        LogFormat::Text => logs.with_ansi(false).init(),
        LogFormat::Json => logs.json().init(),
    }
}
