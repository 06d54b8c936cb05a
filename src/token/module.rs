//! Loading the vendor library, finding the one token that is meant, logging in once.

use super::{Pin, TokenError, TokenUri};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// PKCS#11 §5.4: C_Initialize is per process and module, so every user of one path shares one.
static LOADED: Mutex<BTreeMap<PathBuf, Weak<Loaded>>> = Mutex::new(BTreeMap::new());
static UNLOADED: Condvar = Condvar::new();

fn loaded() -> MutexGuard<'static, BTreeMap<PathBuf, Weak<Loaded>>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Loaded {
    path: PathBuf,
    context: Pkcs11,
    /// Serials of tokens that refused a PIN: no second C_Login by this process (K5).
    latched: Mutex<BTreeSet<String>>,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let mut registry = loaded();
        // Sessions hold a `Module`, so none is left here: finalising under a running C_Sign
        // crashes some modules.
        if let Err(error) = self.context.clone().finalize() {
            tracing::warn!(module = %self.path.display(), %error, "C_Finalize failed");
        }
        registry.remove(&self.path);
        UNLOADED.notify_all();
    }
}

/// A loaded and initialised PKCS#11 module; finalised when the last user drops it.
#[derive(Clone, Debug)]
pub struct Module(Arc<Loaded>);

impl Module {
    /// Loads and initialises the module at `path`, or shares it when this process has it already.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let refuse = |reason: &dyn std::fmt::Display| TokenError::Environment(format!("{}: {reason}", path.display()));
        // dlopen searches the library path for bare names; a module is always named by its file.
        let path = path.canonicalize().map_err(|e| refuse(&format!("{e}; name the file of the vendor's PKCS#11 library")))?;
        let mut registry = loaded();
        while let Some(entry) = registry.get(&path) {
            if let Some(module) = entry.upgrade() {
                return Ok(Self(module));
            }
            // Its last user is about to finalise it: wait for that.
            registry = UNLOADED.wait(registry).unwrap_or_else(PoisonError::into_inner);
        }
        let context = Pkcs11::new(&path).map_err(|e| refuse(&e))?;
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(|e| refuse(&e))?;
        let module = Arc::new(Loaded { path: path.clone(), context, latched: Mutex::default() });
        registry.insert(path, Arc::downgrade(&module));
        Ok(Self(module))
    }

    /// Path of the module's file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Every initialised token that the module shows now. A token whose information cannot be
    /// read is left out, and so can never be opened.
    pub fn tokens(&self) -> Result<Vec<TokenInfo>, TokenError> {
        Ok(self.slots()?.into_iter().map(|(_, info)| info).collect())
    }

    fn slots(&self) -> Result<Vec<(Slot, TokenInfo)>, TokenError> {
        let mut out = Vec::new();
        for slot in self.0.context.get_slots_with_token()? {
            match self.0.context.get_token_info(slot) {
                Ok(raw) if raw.token_initialized() => out.push((slot, TokenInfo::from_raw(&raw))),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "a token's CK_TOKEN_INFO is unreadable; it is ignored"),
            }
        }
        Ok(out)
    }

    /// The slot of the one token that `uri` names; two matches are as bad as none.
    fn find(&self, uri: &TokenUri) -> Result<(Slot, TokenInfo), TokenError> {
        let all = self.slots()?;
        let present: Vec<String> = all.iter().map(|(_, i)| format!("serial {} label '{}'", i.serial, i.label)).collect();
        let present = if present.is_empty() { "none".to_owned() } else { present.join(", ") };
        let mut matching = all.into_iter().filter(|(_, i)| uri.matches(&i.serial, &i.label, &i.manufacturer, &i.model));
        match (matching.next(), matching.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(TokenError::NoSuchToken(format!("{uri} is not in {}; present: {present}", self.path().display()))),
            (Some(_), Some(_)) => {
                Err(TokenError::NoSuchToken(format!("{uri} names more than one token; add its serial number; present: {present}")))
            }
        }
    }
}

/// What a token says of itself (CK_TOKEN_INFO), blanks trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Manufacturer, at most 32 bytes.
    pub manufacturer: String,
    /// Model, at most 16 bytes.
    pub model: String,
    /// Serial number, at most 16 bytes; what names a token (K3).
    pub serial: String,
    /// Label, at most 32 bytes.
    pub label: String,
    /// Firmware version `major.minor`.
    pub firmware: String,
    /// Whether this is a software token, whose keys the host's administrator can copy (T1).
    pub soft: bool,
    login: Login,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Login {
    final_try: bool,
    locked: bool,
    no_pin: bool,
}

/// Beginnings of manufacturer or model of tokens that are files on the host.
const SOFT: [&str; 7] = ["SoftHSM", "Kryoptic", "Mozilla", "NSS", "Soft", "SW   TPM", "GNOME Keyring"];

impl TokenInfo {
    fn from_raw(raw: &cryptoki::slot::TokenInfo) -> Self {
        let text = |s: &str| s.trim_end().to_owned();
        let (manufacturer, model) = (text(raw.manufacturer_id()), text(raw.model()));
        let version = raw.firmware_version();
        Self {
            soft: SOFT.iter().any(|s| manufacturer.starts_with(s) || model.starts_with(s)),
            manufacturer,
            model,
            serial: text(raw.serial_number()),
            label: text(raw.label()),
            firmware: format!("{}.{}", version.major(), version.minor()),
            login: Login { final_try: raw.user_pin_final_try(), locked: raw.user_pin_locked(), no_pin: !raw.user_pin_initialized() },
        }
    }

    /// What another process told of its token.
    pub(super) fn told(manufacturer: &str, model: &str, serial: &str, label: &str, firmware: &str, soft: bool) -> Self {
        let [manufacturer, model, serial, label, firmware] = [manufacturer, model, serial, label, firmware].map(str::to_owned);
        Self { manufacturer, model, serial, label, firmware, soft, login: Login { final_try: false, locked: false, no_pin: false } }
    }

    /// The token's name (K3).
    pub fn uri(&self) -> Result<TokenUri, TokenError> {
        TokenUri::token(Some(&self.serial), Some(&self.label))
    }
}

/// One token, logged in as user. Sessions may move to another thread but not be shared.
#[derive(Debug)]
pub struct Token {
    // Declared before `module`: the session closes before the module can be finalised.
    pub(super) session: Session,
    pub(super) mechanisms: Vec<MechanismType>,
    slot: Slot,
    info: TokenInfo,
    module: Module,
}

impl Token {
    /// Opens the one token that `uri` names and logs in: one C_Login, whatever happens (K5).
    /// A token that refused a PIN once is not tried again by this process.
    pub fn open(module: &Module, uri: &TokenUri, pin: &Pin) -> Result<Self, TokenError> {
        let (slot, info) = module.find(uri)?;
        let latched = || module.0.latched.lock().unwrap_or_else(PoisonError::into_inner);
        if latched().contains(&info.serial) {
            return Err(TokenError::PinRefused("this token refused a PIN before; restart with the right PIN".into()));
        }
        let refuse = |reason: &str| Err(TokenError::PinRefused(format!("token {}: {reason}", info.serial)));
        match info.login {
            Login { locked: true, .. } => return refuse("the user PIN is locked; the security officer must reset it"),
            Login { final_try: true, .. } => {
                return refuse("one attempt is left before it locks and is kept for you; log in once with the vendor's tool");
            }
            Login { no_pin: true, .. } => return refuse("the user PIN was never set; initialise the token first"),
            _ => {}
        }
        let session = module.0.context.open_rw_session(slot)?;
        match session.login(UserType::User, Some(pin.auth())) {
            // Another session of this process is logged in; login state is per token and process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => {
                let error = TokenError::from(error);
                if let TokenError::PinRefused(told) = error {
                    latched().insert(info.serial.clone());
                    return Err(TokenError::PinRefused(format!(
                        "token {}: {told}; it was tried once and will not be tried again, correct the PIN and restart",
                        info.serial
                    )));
                }
                return Err(error);
            }
        }
        let mechanisms = module.0.context.get_mechanism_list(slot)?;
        Ok(Self { session, mechanisms, slot, info, module: module.clone() })
    }

    /// A further session on the same token and login.
    pub(super) fn another_session(&self) -> Result<Self, TokenError> {
        let session = self.module.0.context.open_ro_session(self.slot)?;
        let (mechanisms, info, module) = (self.mechanisms.clone(), self.info.clone(), self.module.clone());
        Ok(Self { session, mechanisms, slot: self.slot, info, module })
    }

    /// Who this token is, as read when it was opened.
    pub fn info(&self) -> &TokenInfo {
        &self.info
    }
}
