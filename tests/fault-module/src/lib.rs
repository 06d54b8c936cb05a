//! A PKCS#11 module that forwards to the one named by `FAULT_MODULE` and, told by the file that
//! `FAULT_CONTROL` names, misbehaves as vendor modules do. The file is read at each call; a line is
//! `FUNCTION ACTION [NUMBER]`:
//!
//! - `sign hang`, `sign delay MILLISECONDS`, `sign crash`, `sign corrupt`, `sign short`
//! - `sign code CKR`, `login code CKR`, `generate code CKR`
//! - `attribute lie CKA`: the boolean attribute reads back inverted
//!
//! It is a test's tool and never part of what is shipped.

use cryptoki_sys::*;
use std::sync::OnceLock;
use std::time::Duration;

struct Real {
    _library: libloading::Library,
    functions: CK_FUNCTION_LIST,
}

// SAFETY: function pointers of a loaded library, never changed after it was loaded.
unsafe impl Send for Real {}
unsafe impl Sync for Real {}

static REAL: OnceLock<Real> = OnceLock::new();

struct Ours(CK_FUNCTION_LIST);

// SAFETY: as above.
unsafe impl Send for Ours {}
unsafe impl Sync for Ours {}

static OURS: OnceLock<Ours> = OnceLock::new();

fn load() -> Option<Real> {
    let path = std::env::var_os("FAULT_MODULE")?;
    // SAFETY: the module under test's own backing module, initialised by the same caller.
    unsafe {
        let library = libloading::Library::new(path).ok()?;
        let get: libloading::Symbol<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
            library.get(b"C_GetFunctionList\0").ok()?;
        let mut list = std::ptr::null_mut();
        if get(&mut list) != CKR_OK || list.is_null() {
            return None;
        }
        let functions = *list;
        Some(Real { _library: library, functions })
    }
}

/// Action and number told for a function, if any.
fn told(function: &str) -> Option<(String, u64)> {
    let text = std::fs::read_to_string(std::env::var_os("FAULT_CONTROL")?).ok()?;
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        if words.next()? != function {
            return None;
        }
        let action = words.next()?.to_owned();
        let number = words.next().map_or(Some(0), |n| match n.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => n.parse().ok(),
        });
        Some((action, number?))
    })
}

/// Entry point (PKCS#11 §5.2): the real module's list with a few functions of ours.
///
/// # Safety
/// `list` must be valid for writing one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if REAL.get().is_none() {
        let Some(real) = load() else { return CKR_GENERAL_ERROR };
        let _ = REAL.set(real);
    }
    let Some(real) = REAL.get() else { return CKR_GENERAL_ERROR };
    let ours = OURS.get_or_init(|| {
        let mut functions = real.functions;
        functions.C_Sign = Some(sign);
        functions.C_Login = Some(login);
        functions.C_GenerateKeyPair = Some(generate_key_pair);
        functions.C_GetAttributeValue = Some(get_attribute_value);
        Ours(functions)
    });
    // SAFETY: the caller promises a valid pointer; callers only read through it.
    unsafe { *list = std::ptr::from_ref(&ours.0).cast_mut() };
    CKR_OK
}

unsafe extern "C" fn sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    out: *mut CK_BYTE,
    out_length: *mut CK_ULONG,
) -> CK_RV {
    let Some(forward) = REAL.get().and_then(|r| r.functions.C_Sign) else { return CKR_GENERAL_ERROR };
    let fault = if out.is_null() { None } else { told("sign") };
    match fault.as_ref().map(|(action, number)| (action.as_str(), *number)) {
        Some(("hang", _)) => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        Some(("delay", number)) => std::thread::sleep(Duration::from_millis(number)),
        Some(("crash", _)) => std::process::abort(),
        Some(("code", number)) => return number as CK_RV,
        _ => {}
    }
    // SAFETY: the caller's own arguments.
    let rv = unsafe { forward(session, data, length, out, out_length) };
    if rv == CKR_OK {
        // SAFETY: the real module has just written that many bytes there.
        unsafe {
            match fault.as_ref().map(|(action, _)| action.as_str()) {
                Some("corrupt") => *out ^= 1,
                Some("short") => *out_length -= 1,
                _ => {}
            }
        }
    }
    rv
}

unsafe extern "C" fn login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, length: CK_ULONG) -> CK_RV {
    match (told("login"), REAL.get().and_then(|r| r.functions.C_Login)) {
        (Some((_, code)), _) => code as CK_RV,
        // SAFETY: the caller's own arguments.
        (None, Some(forward)) => unsafe { forward(session, user, pin, length) },
        _ => CKR_GENERAL_ERROR,
    }
}

#[allow(clippy::too_many_arguments)] // PKCS#11 §5.18.2
unsafe extern "C" fn generate_key_pair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    match (told("generate"), REAL.get().and_then(|r| r.functions.C_GenerateKeyPair)) {
        (Some((_, code)), _) => code as CK_RV,
        // SAFETY: the caller's own arguments.
        (None, Some(forward)) => unsafe {
            forward(session, mechanism, public, public_count, private, private_count, public_key, private_key)
        },
        _ => CKR_GENERAL_ERROR,
    }
}

unsafe extern "C" fn get_attribute_value(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let Some(forward) = REAL.get().and_then(|r| r.functions.C_GetAttributeValue) else { return CKR_GENERAL_ERROR };
    // SAFETY: the caller's own arguments.
    let rv = unsafe { forward(session, object, template, count) };
    if let (CKR_OK, Some((_, lie))) = (rv, told("attribute")) {
        for n in 0..count as usize {
            // SAFETY: the caller promises `count` attributes; only one-byte values with a buffer are touched.
            unsafe {
                let attribute = *template.add(n);
                if attribute.type_ == lie as CK_ATTRIBUTE_TYPE && attribute.ulValueLen == 1 && !attribute.pValue.is_null() {
                    *attribute.pValue.cast::<u8>() ^= 1;
                }
            }
        }
    }
    rv
}
