//! Who is at the other end of Unix sockets, by sock_diag(7).

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags, UnixRequest};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

/// The inodes of the sockets that are connected to these.
pub(super) fn peers_of(sockets: &BTreeSet<u32>) -> anyhow::Result<BTreeSet<u32>> {
    let mut kernel = Socket::new(NETLINK_SOCK_DIAG).context("cannot open a netlink socket")?;
    kernel.bind_auto().context("cannot bind a netlink socket")?;
    kernel.connect(&SocketAddr::new(0, 0)).context("cannot reach the kernel")?;
    kernel.send(&question(), 0).context("cannot ask for sockets")?;
    let mut peers = BTreeSet::new();
    loop {
        let (answer, _) = kernel.recv_from_full().context("cannot hear of sockets")?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .context("cannot understand what the kernel tells of sockets")?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::UnixResponse(socket)) => {
                    let peer = socket.peer().filter(|_| sockets.contains(&socket.header.inode));
                    peers.extend(peer);
                }
                NetlinkPayload::Done(_) => return Ok(peers),
                NetlinkPayload::Error(error) => bail!("no sockets are told of: {error}"),
                NetlinkPayload::Noop | NetlinkPayload::InnerMessage(_) | _ => {}
            }
            let length = usize::try_from(message.header.length)?.next_multiple_of(4);
            rest = rest.get(length.max(4)..).unwrap_or_default();
        }
    }
}

fn question() -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = UnixRequest {
        state_flags: StateFlags::ESTABLISHED,
        inode: 0,
        show_flags: ShowFlags::PEER,
        cookie: [0xff; 8],
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::UnixRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn finds_the_other_end() {
        let (one, other) = UnixStream::pair().unwrap();
        let inode = |stream: &UnixStream| {
            let fd = std::os::fd::AsRawFd::as_raw_fd(stream);
            let about = std::fs::metadata(format!("/proc/self/fd/{fd}")).unwrap();
            u32::try_from(about.ino()).unwrap()
        };
        let found = peers_of(&BTreeSet::from([inode(&one)])).unwrap();
        assert_eq!(found, BTreeSet::from([inode(&other)]));
        assert_eq!(peers_of(&BTreeSet::new()).unwrap(), BTreeSet::new());
    }
}
