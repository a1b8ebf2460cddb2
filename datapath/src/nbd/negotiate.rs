//! The handshake after the greeting, as a state machine without IO.

use crate::block::{DeviceInfo, Exports, OpenDevice, OpenError};

use super::limits::{MAX_NAME, MAX_OPTION_DATA, MAX_OPTIONS, MAX_PAYLOAD};
use super::wire::{
    BASE_ALLOCATION, BASE_ALLOCATION_ID, FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES, Parser, info, opt,
    put_option_reply, rep, tx,
};

/// What must happen after the reply bytes are sent.
#[derive(Debug)]
pub enum Next {
    /// Read the next option.
    Option,
    /// Close the connection; the text says why (for the server's log).
    Close(String),
    /// The handshake is over.
    Transmission(Box<Session>),
}

/// The outcome of a successful handshake.
#[derive(Debug)]
pub struct Session {
    /// The chosen device, open.
    pub device: OpenDevice,
    /// What it is, as told to the client.
    pub info: DeviceInfo,
    /// What was agreed on.
    pub terms: Terms,
}

/// What client and server agreed on for the transmission phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Replies are structured.
    pub structured: bool,
    /// `base:allocation` may be queried.
    pub allocation: bool,
    /// Longest read or write.
    pub max_payload: u32,
}

/// State of one client's handshake: feed the client's flags once, then each option.
#[derive(Debug, Default)]
pub struct Negotiation {
    fixed: bool,
    no_zeroes: bool,
    structured: bool,
    /// Export for which `base:allocation` was chosen.
    allocation_for: Option<String>,
    options: u32,
}

/// Error reply to an option: type and text.
struct Refusal(u32, String);

impl Refusal {
    fn invalid(text: &str) -> Self {
        Self(rep::ERR_INVALID, text.to_owned())
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        let reply = match error {
            OpenError::Unknown(_) | OpenError::NotHere(_) => rep::ERR_UNKNOWN,
            OpenError::Busy(_) => rep::ERR_POLICY,
            OpenError::ShuttingDown => rep::ERR_SHUTDOWN,
        };
        Self(reply, error.to_string())
    }
}

/// Data of `INFO` and `GO`.
struct InfoRequest {
    name: String,
    wants: Vec<u16>,
}

impl Negotiation {
    /// A handshake whose greeting was sent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the client's flags.
    ///
    /// # Errors
    /// The client set a flag that was not offered; the connection must be closed.
    pub fn handle_client_flags(&mut self, flags: u32) -> Result<(), String> {
        let fixed = u32::from(FLAG_FIXED_NEWSTYLE);
        let no_zeroes = u32::from(FLAG_NO_ZEROES);
        if flags & !(fixed | no_zeroes) != 0 {
            return Err(format!("client set unknown handshake flags {flags:#x}"));
        }
        self.fixed = flags & fixed != 0;
        self.no_zeroes = flags & no_zeroes != 0;
        Ok(())
    }

    /// Takes an option whose data is longer than [`MAX_OPTION_DATA`] and was not kept.
    pub fn handle_oversized(&mut self, option: u32, out: &mut Vec<u8>) -> Next {
        if let Some(close) = self.count(option) {
            return close;
        }
        if option == opt::EXPORT_NAME {
            return Next::Close("name of the export is too long".to_owned());
        }
        let text = format!("option data is longer than {MAX_OPTION_DATA} bytes");
        put_option_reply(out, option, rep::ERR_TOO_BIG, text.as_bytes());
        Next::Option
    }

    /// Takes an option with its data, appends the replies to `out`.
    pub fn handle_option(
        &mut self,
        option: u32,
        data: &[u8],
        exports: &dyn Exports,
        out: &mut Vec<u8>,
    ) -> Next {
        if let Some(close) = self.count(option) {
            return close;
        }
        let result = match option {
            opt::EXPORT_NAME => return self.export_name(data, exports, out),
            opt::ABORT => {
                put_option_reply(out, option, rep::ACK, &[]);
                return Next::Close("client aborted the handshake".to_owned());
            }
            opt::GO => match self.go(data, exports, out) {
                Ok(session) => return Next::Transmission(Box::new(session)),
                Err(refusal) => Err(refusal),
            },
            opt::INFO => info_request(data, exports).and_then(|request| {
                let device = exports.describe(&request.name)?;
                self.describe(option, &request, &device, out)
            }),
            opt::LIST => list(data, exports, out),
            opt::STRUCTURED_REPLY => self.structured_reply(data),
            opt::LIST_META_CONTEXT | opt::SET_META_CONTEXT => {
                self.meta_context(option, data, exports, out)
            }
            opt::STARTTLS => Err(Refusal(
                rep::ERR_UNSUP,
                "this server has no TLS; use its Unix socket".to_owned(),
            )),
            _ => Err(Refusal(
                rep::ERR_UNSUP,
                format!("option {option} is unknown"),
            )),
        };
        match result {
            Ok(()) => put_option_reply(out, option, rep::ACK, &[]),
            Err(Refusal(reply, text)) => put_option_reply(out, option, reply, text.as_bytes()),
        }
        Next::Option
    }

    fn count(&mut self, option: u32) -> Option<Next> {
        self.options += 1;
        if self.options > MAX_OPTIONS {
            return Some(Next::Close(format!("more than {MAX_OPTIONS} options")));
        }
        if !self.fixed && option != opt::EXPORT_NAME {
            let text = format!("option {option} without the fixed newstyle flag");
            return Some(Next::Close(text));
        }
        None
    }

    /// The old way: every failure can only be told by closing.
    fn export_name(&self, data: &[u8], exports: &dyn Exports, out: &mut Vec<u8>) -> Next {
        let opened = export_name_of(data)
            .and_then(|name| self.open(&resolve(name, exports), exports))
            .and_then(|session| {
                if session.info.min_block > 1 {
                    return Err(block_size_required(&session.info));
                }
                Ok(session)
            });
        match opened {
            Ok(session) => {
                out.extend_from_slice(&session.info.size.to_be_bytes());
                out.extend_from_slice(&self.flags(&session.info).to_be_bytes());
                if !self.no_zeroes {
                    out.extend_from_slice(&[0; 124]);
                }
                Next::Transmission(Box::new(session))
            }
            Err(Refusal(_, text)) => Next::Close(text),
        }
    }

    fn go(
        &self,
        data: &[u8],
        exports: &dyn Exports,
        out: &mut Vec<u8>,
    ) -> Result<Session, Refusal> {
        let request = info_request(data, exports)?;
        let session = self.open(&request.name, exports)?;
        self.describe(opt::GO, &request, &session.info, out)?;
        put_option_reply(out, opt::GO, rep::ACK, &[]);
        Ok(session)
    }

    fn open(&self, name: &str, exports: &dyn Exports) -> Result<Session, Refusal> {
        let device = exports.open(name)?;
        let info = device.target.info();
        let terms = Terms {
            structured: self.structured,
            allocation: self.structured && self.allocation_for.as_deref() == Some(name),
            max_payload: max_payload(&info),
        };
        Ok(Session {
            device,
            info,
            terms,
        })
    }

    fn describe(
        &self,
        option: u32,
        request: &InfoRequest,
        device: &DeviceInfo,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if device.min_block > 1 && !request.wants.contains(&info::BLOCK_SIZE) {
            return Err(block_size_required(device));
        }
        let mut put = |kind: u16, parts: &[&[u8]]| {
            let mut data = kind.to_be_bytes().to_vec();
            parts.iter().for_each(|part| data.extend_from_slice(part));
            put_option_reply(out, option, rep::INFO, &data);
        };
        put(
            info::EXPORT,
            &[
                &device.size.to_be_bytes(),
                &self.flags(device).to_be_bytes(),
            ],
        );
        if request.wants.contains(&info::NAME) {
            put(info::NAME, &[request.name.as_bytes()]);
        }
        if request.wants.contains(&info::DESCRIPTION) && !device.description.is_empty() {
            put(info::DESCRIPTION, &[device.description.as_bytes()]);
        }
        put(
            info::BLOCK_SIZE,
            &[
                &device.min_block.to_be_bytes(),
                &device.preferred_block.to_be_bytes(),
                &max_payload(device).to_be_bytes(),
            ],
        );
        Ok(())
    }

    /// Transmission flags of a device for this client.
    fn flags(&self, device: &DeviceInfo) -> u16 {
        let mut flags = tx::HAS_FLAGS | tx::SEND_FLUSH | tx::SEND_FUA;
        if device.read_only {
            flags |= tx::READ_ONLY;
        } else {
            flags |= tx::SEND_TRIM | tx::SEND_WRITE_ZEROES;
            if device.fast_zero {
                flags |= tx::SEND_FAST_ZERO;
            }
        }
        if device.rotational {
            flags |= tx::ROTATIONAL;
        }
        if device.multi_conn {
            flags |= tx::CAN_MULTI_CONN;
        }
        if self.structured {
            flags |= tx::SEND_DF;
        }
        flags
    }

    fn structured_reply(&mut self, data: &[u8]) -> Result<(), Refusal> {
        if !data.is_empty() {
            return Err(Refusal::invalid("option takes no data"));
        }
        self.structured = true;
        Ok(())
    }

    fn meta_context(
        &mut self,
        option: u32,
        data: &[u8],
        exports: &dyn Exports,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let set = option == opt::SET_META_CONTEXT;
        if set {
            // Even a refused choice replaces the one before.
            self.allocation_for = None;
            if !self.structured {
                return Err(Refusal::invalid("structured replies come first"));
            }
        }
        let (name, queries) = meta_request(data)?;
        let name = resolve(name, exports);
        exports.describe(&name)?;
        let wanted = queries.iter().any(|query| match *query {
            b"base:allocation" => true,
            b"base:" => !set,
            _ => false,
        }) || (!set && queries.is_empty());
        if wanted {
            let id = if set { BASE_ALLOCATION_ID } else { 0 };
            let mut data = id.to_be_bytes().to_vec();
            data.extend_from_slice(BASE_ALLOCATION.as_bytes());
            put_option_reply(out, option, rep::META_CONTEXT, &data);
            if set {
                self.allocation_for = Some(name);
            }
        }
        Ok(())
    }
}

fn block_size_required(device: &DeviceInfo) -> Refusal {
    let text = format!(
        "export '{}' takes blocks of {} bytes only; the client must ask for block sizes",
        device.name, device.min_block
    );
    Refusal(rep::ERR_BLOCK_SIZE_REQD, text)
}

fn max_payload(device: &DeviceInfo) -> u32 {
    device.max_payload.min(MAX_PAYLOAD)
}

fn export_name_of(bytes: &[u8]) -> Result<&str, Refusal> {
    if u32::try_from(bytes.len()).map_or(true, |len| len > MAX_NAME) {
        let text = format!("name of the export is longer than {MAX_NAME} bytes");
        return Err(Refusal(rep::ERR_TOO_BIG, text));
    }
    std::str::from_utf8(bytes).map_err(|_| Refusal::invalid("name of the export is not UTF-8"))
}

/// The empty name means the only export, if there is exactly one.
fn resolve(name: &str, exports: &dyn Exports) -> String {
    if name.is_empty() {
        let mut list = exports.list();
        if list.len() == 1 {
            return list.swap_remove(0).name;
        }
    }
    name.to_owned()
}

fn list(data: &[u8], exports: &dyn Exports, out: &mut Vec<u8>) -> Result<(), Refusal> {
    if !data.is_empty() {
        return Err(Refusal::invalid("option takes no data"));
    }
    for entry in exports.list() {
        let len = u32::try_from(entry.name.len()).unwrap_or(u32::MAX);
        let mut data = len.to_be_bytes().to_vec();
        data.extend_from_slice(entry.name.as_bytes());
        data.extend_from_slice(entry.description.as_bytes());
        put_option_reply(out, opt::LIST, rep::SERVER, &data);
    }
    Ok(())
}

fn sized<'a>(parser: &mut Parser<'a>) -> Option<&'a [u8]> {
    let len = parser.u32()?;
    parser.bytes(usize::try_from(len).ok()?)
}

fn info_request(data: &[u8], exports: &dyn Exports) -> Result<InfoRequest, Refusal> {
    let malformed = || Refusal::invalid("lengths in the option do not add up");
    let mut parser = Parser::new(data);
    let name = sized(&mut parser).ok_or_else(malformed)?;
    let count = parser.u16().ok_or_else(malformed)?;
    let wants = (0..count).map_while(|_| parser.u16()).collect::<Vec<_>>();
    if wants.len() != usize::from(count) || !parser.is_empty() {
        return Err(malformed());
    }
    let name = resolve(export_name_of(name)?, exports);
    Ok(InfoRequest { name, wants })
}

fn meta_request(data: &[u8]) -> Result<(&str, Vec<&[u8]>), Refusal> {
    let malformed = || Refusal::invalid("lengths in the option do not add up");
    let mut parser = Parser::new(data);
    let name = sized(&mut parser).ok_or_else(malformed)?;
    let count = parser.u32().ok_or_else(malformed)?;
    let mut queries = Vec::new();
    while !parser.is_empty() {
        queries.push(sized(&mut parser).ok_or_else(malformed)?);
    }
    if u32::try_from(queries.len()) != Ok(count) {
        return Err(malformed());
    }
    Ok((export_name_of(name)?, queries))
}

#[cfg(test)]
#[path = "negotiate_tests.rs"]
mod tests;
