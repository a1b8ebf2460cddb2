//! Error codes in words: `[EIO:Input/output_error]`.

use super::number::Num;

/// Names and texts of the errors that disks, devices and replay report; numbers as on Linux/x86.
const ERRNO: &[(i64, &str, &str)] = &[
    (1, "EPERM", "Operation not permitted"),
    (2, "ENOENT", "No such file or directory"),
    (3, "ESRCH", "No such process"),
    (4, "EINTR", "Interrupted system call"),
    (5, "EIO", "Input/output error"),
    (6, "ENXIO", "No such device or address"),
    (7, "E2BIG", "Argument list too long"),
    (8, "ENOEXEC", "Exec format error"),
    (9, "EBADF", "Bad file descriptor"),
    (10, "ECHILD", "No child processes"),
    (11, "EAGAIN", "Resource temporarily unavailable"),
    (12, "ENOMEM", "Cannot allocate memory"),
    (13, "EACCES", "Permission denied"),
    (14, "EFAULT", "Bad address"),
    (15, "ENOTBLK", "Block device required"),
    (16, "EBUSY", "Device or resource busy"),
    (17, "EEXIST", "File exists"),
    (18, "EXDEV", "Invalid cross-device link"),
    (19, "ENODEV", "No such device"),
    (20, "ENOTDIR", "Not a directory"),
    (21, "EISDIR", "Is a directory"),
    (22, "EINVAL", "Invalid argument"),
    (23, "ENFILE", "Too many open files in system"),
    (24, "EMFILE", "Too many open files"),
    (25, "ENOTTY", "Inappropriate ioctl for device"),
    (26, "ETXTBSY", "Text file busy"),
    (27, "EFBIG", "File too large"),
    (28, "ENOSPC", "No space left on device"),
    (29, "ESPIPE", "Illegal seek"),
    (30, "EROFS", "Read-only file system"),
    (31, "EMLINK", "Too many links"),
    (32, "EPIPE", "Broken pipe"),
    (33, "EDOM", "Numerical argument out of domain"),
    (34, "ERANGE", "Numerical result out of range"),
    (35, "EDEADLK", "Resource deadlock avoided"),
    (36, "ENAMETOOLONG", "File name too long"),
    (37, "ENOLCK", "No locks available"),
    (38, "ENOSYS", "Function not implemented"),
    (39, "ENOTEMPTY", "Directory not empty"),
    (40, "ELOOP", "Too many levels of symbolic links"),
    (56, "EBADRQC", "Invalid request code"),
    (61, "ENODATA", "No data available"),
    (62, "ETIME", "Timer expired"),
    (67, "ENOLINK", "Link has been severed"),
    (70, "ECOMM", "Communication error on send"),
    (71, "EPROTO", "Protocol error"),
    (74, "EBADMSG", "Bad message"),
    (75, "EOVERFLOW", "Value too large for defined data type"),
    (77, "EBADFD", "File descriptor in bad state"),
    (
        84,
        "EILSEQ",
        "Invalid or incomplete multibyte or wide character",
    ),
    (
        85,
        "ERESTART",
        "Interrupted system call should be restarted",
    ),
    (88, "ENOTSOCK", "Socket operation on non-socket"),
    (90, "EMSGSIZE", "Message too long"),
    (95, "EOPNOTSUPP", "Operation not supported"),
    (98, "EADDRINUSE", "Address already in use"),
    (99, "EADDRNOTAVAIL", "Cannot assign requested address"),
    (100, "ENETDOWN", "Network is down"),
    (101, "ENETUNREACH", "Network is unreachable"),
    (103, "ECONNABORTED", "Software caused connection abort"),
    (104, "ECONNRESET", "Connection reset by peer"),
    (105, "ENOBUFS", "No buffer space available"),
    (107, "ENOTCONN", "Transport endpoint is not connected"),
    (
        108,
        "ESHUTDOWN",
        "Cannot send after transport endpoint shutdown",
    ),
    (110, "ETIMEDOUT", "Connection timed out"),
    (111, "ECONNREFUSED", "Connection refused"),
    (112, "EHOSTDOWN", "Host is down"),
    (113, "EHOSTUNREACH", "No route to host"),
    (115, "EINPROGRESS", "Operation now in progress"),
    (116, "ESTALE", "Stale file handle"),
    (117, "EUCLEAN", "Structure needs cleaning"),
    (121, "EREMOTEIO", "Remote I/O error"),
    (122, "EDQUOT", "Disk quota exceeded"),
    (123, "ENOMEDIUM", "No medium found"),
    (124, "EMEDIUMTYPE", "Wrong medium type"),
    (125, "ECANCELED", "Operation canceled"),
    (126, "ENOKEY", "Required key not available"),
    (129, "EKEYREJECTED", "Key was rejected by service"),
];

/// Codes of the replay beyond those of the system.
const REPLAY: &[(i64, &str, &str)] = &[(10101, "MARS_ERR_CRC_MISMATCH", "CRC mismatch found")];

/// Each code of a comma list in words; zero stays, hexadecimal bytes become `,HEXCODE=0x..`.
pub(crate) fn errno_text(codes: &str) -> String {
    let mut out = String::new();
    for code in codes.split(',').map(str::trim).filter(|c| !c.is_empty()) {
        if code.starts_with("0x") {
            out.push_str(",HEXCODE=");
            out.push_str(code);
            continue;
        }
        let number = Num::read(code).int().saturating_abs();
        if number == 0 {
            out.push_str(code);
            continue;
        }
        let known = ERRNO.iter().chain(REPLAY).find(|entry| entry.0 == number);
        let (name, text) = match known {
            Some((_, name, text)) => ((*name).to_owned(), (*text).to_owned()),
            None => (
                format!("UNKNOWN_{number}"),
                format!("Unknown error {number}"),
            ),
        };
        out.push('[');
        out.push_str(&name);
        out.push(':');
        out.push_str(&text.replace(' ', "_"));
        out.push(']');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_words() {
        assert_eq!(errno_text("-5"), "[EIO:Input/output_error]");
        assert_eq!(errno_text("0"), "0");
        assert_eq!(errno_text(""), "");
        assert_eq!(
            errno_text("-28,0x00"),
            "[ENOSPC:No_space_left_on_device],HEXCODE=0x00"
        );
    }
}
