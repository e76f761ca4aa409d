//! Which process holds a TCP socket, as `/proc` tells it.

use std::collections::BTreeMap;
use std::fs;

/// The node whose process has a connection from `local` to `remote`, both ports
/// on loopback.
pub(super) fn owner_of(local: u16, remote: u16, processes: &BTreeMap<u64, u32>) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = table
        .lines()
        .skip(1)
        .find_map(|line| inode_of(line, local, remote))?;
    let socket = format!("socket:[{inode}]");
    let found = processes.iter().find(|(_, pid)| has_open(**pid, &socket));
    found.map(|(id, _)| *id)
}

/// The socket of one line of the table, if it is the one that is looked for.
fn inode_of(line: &str, local: u16, remote: u16) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let is = |field: usize, port: u16| {
        let found = fields.get(field)?.rsplit_once(':')?.1;
        (u16::from_str_radix(found, 16) == Ok(port)).then_some(())
    };
    is(1, local)?;
    is(2, remote)?;
    fields.get(9).copied()
}

fn has_open(pid: u32, socket: &str) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let mut targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.any(|target| target.to_str() == Some(socket))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{TcpListener, TcpStream};

    use super::{inode_of, owner_of};

    #[test]
    fn a_connection_of_this_process_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let told = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect(("127.0.0.1", told)).unwrap();
        let own = stream.local_addr().unwrap().port();
        let processes = BTreeMap::from([(1, 1), (7, std::process::id())]);
        assert_eq!(owner_of(own, told, &processes), Some(7));
        assert_eq!(owner_of(told, told, &processes), None);
    }

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "   0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 \
                    00000000  1000        0 4711 1 0000000000000000 20 4 30 10 -1";
        assert_eq!(inode_of(line, 0x1f90, 0xc350), Some("4711"));
        assert_eq!(inode_of(line, 0xc350, 0x1f90), None);
        assert_eq!(inode_of("  sl  local_address", 1, 2), None);
    }
}
