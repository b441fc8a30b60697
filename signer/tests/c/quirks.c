/* SoftHSMv2 with the quirks of other people's tokens, chosen by QUIRKS (words separated by commas).
 * Compiled with -DSOFTHSM="path" -DTOLD="path" against p11-kit's pkcs11.h. What it is asked for that no
 * module should be asked for stands in the file TOLD afterwards. With -DTRIES="path" three wrong PINs lock it, and
 * the file TRIES holds how many are left. */
#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static CK_FUNCTION_LIST own;
static CK_FUNCTION_LIST *real;

static int has(const char *quirk)
{
	const char *list = getenv("QUIRKS");

	return list && strstr(list, quirk) != NULL;
}

static void tell(const char *what)
{
	FILE *file = fopen(TOLD, "a");

	if (file) {
		fprintf(file, "%s\n", what);
		fclose(file);
	}
}

static CK_RV initialize(void *arguments)
{
	CK_C_INITIALIZE_ARGS *given = arguments;

	tell(given && given->flags & CKF_OS_LOCKING_OK ? "initialized for threads" : "initialized for one thread");
	if (has("cant-lock") && given && given->flags & CKF_OS_LOCKING_OK)
		return CKR_CANT_LOCK;
	return real->C_Initialize(arguments);
}

static CK_RV finalize(void *reserved)
{
	tell("finalized");
	return real->C_Finalize(reserved);
}

#ifdef TRIES
/* Tries that are left, of 3, in a file that all processes share, as a token keeps them. `change` comes with the
 * result of a login: a wrong PIN takes one, a right one brings all back. */
static int tries(int wrong, int right)
{
	int file = open(TRIES, O_RDWR | O_CREAT, 0600);
	char left = '3';

	if (file < 0 || flock(file, LOCK_EX) != 0)
		abort();
	if (pread(file, &left, 1, 0) != 1)
		left = '3';
	if (wrong && left > '0')
		left--;
	if (right && left > '0')
		left = '3';
	if ((wrong || right) && pwrite(file, &left, 1, 0) != 1)
		abort();
	close(file);
	return left - '0';
}
#endif

/* `switched`: the files TOLD.pulled, TOLD.other, TOLD.hang, TOLD.hang-login and TOLD.refuse switch quirks on and off while a process
 * runs. */
static int switched(const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s.%s", TOLD, name);
	return has("switched") && access(path, F_OK) == 0;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, unsigned long len)
{
	CK_RV rv;

	tell("login");
	while (switched("hang-login"))
		usleep(20000);
	if (switched("refuse"))
		return CKR_PIN_INCORRECT;
	if (user == CKU_CONTEXT_SPECIFIC && has("context-refused"))
		return CKR_PIN_INCORRECT;
#ifdef TRIES
	if (has("slow-login"))
		usleep(300000);
	if (tries(0, 0) == 0)
		return CKR_PIN_LOCKED;
#endif
	rv = real->C_Login(session, user, pin, len);
#ifdef TRIES
	tries(rv == CKR_PIN_INCORRECT, rv == CKR_OK);
	if (rv == CKR_PIN_INCORRECT && has("vague"))
		return CKR_FUNCTION_FAILED;
#endif
	return rv;
}

static CK_RV logout(CK_SESSION_HANDLE session)
{
	tell("logout");
	return real->C_Logout(session);
}

/* Sessions that were open when the token was pulled out stay dead when it is back. */
static unsigned long pulls, opened_after[4096];
static int is_out;

static int out(void)
{
	if (!switched("pulled"))
		return is_out = 0;
	if (!is_out)
		pulls++;
	return is_out = 1;
}

static CK_RV open_session(CK_SLOT_ID slot, unsigned long flags, void *data, CK_NOTIFY notify, CK_SESSION_HANDLE *session)
{
	CK_RV rv = out() ? CKR_TOKEN_NOT_PRESENT : real->C_OpenSession(slot, flags, data, notify, session);

	if (rv == CKR_OK)
		opened_after[*session % 4096] = pulls;
	return rv;
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	CK_RV rv = out() ? CKR_TOKEN_NOT_PRESENT : real->C_GetTokenInfo(slot, info);

	if (rv != CKR_OK)
		return rv;

	info->flags &= ~(CK_FLAGS)(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED);
#ifdef TRIES
	if (!has("mute"))
		info->flags |= (const CK_FLAGS[]){ CKF_USER_PIN_LOCKED, CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY,
						   CKF_USER_PIN_COUNT_LOW, 0 }[tries(0, 0)];
#endif
	/* As an HSM would tell of itself. */
	if (has("hardware")) {
		memset(info->manufacturerID, ' ', sizeof(info->manufacturerID));
		memcpy(info->manufacturerID, "ACME Cryptography", 17);
		memset(info->model, ' ', sizeof(info->model));
		memcpy(info->model, "Vault 3", 7);
	}
	/* Another token stands in its place, with the same label. */
	if (switched("other"))
		memcpy(info->serialNumber, "another one's   ", sizeof(info->serialNumber));
	if (has("final-try"))
		info->flags |= CKF_USER_PIN_FINAL_TRY;
	if (has("locked"))
		info->flags |= CKF_USER_PIN_LOCKED;
	/* As opencryptoki 3.8 tells it. */
	if (has("malformed-clock")) {
		info->flags |= CKF_CLOCK_ON_TOKEN;
		memcpy(info->utcTime, "21:22:14\0\0\0\0\0\0\0", 16);
	}
	return rv;
}

static CK_RV attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *list,
			unsigned long count)
{
	CK_RV rv;

	for (unsigned long i = 0; i < count; i++) {
		if (list[i].type == CKA_ALWAYS_AUTHENTICATE && has("no-always-authenticate"))
			return CKR_DEVICE_ERROR;
	}
	rv = real->C_GetAttributeValue(session, object, list, count);
	for (unsigned long i = 0; i < count && rv == CKR_OK; i++) {
		/* 04 41 04 x y: without the OCTET STRING around it. */
		if (list[i].type == CKA_EC_POINT && has("raw-point") && list[i].ulValueLen != (unsigned long)-1) {
			if (list[i].pValue)
				memmove(list[i].pValue, (char *)list[i].pValue + 2, list[i].ulValueLen - 2);
			list[i].ulValueLen -= list[i].pValue ? 2 : 0;
		}
	}
	return rv;
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	if (has("hashed-alone") && (mechanism->mechanism == CKM_RSA_PKCS || mechanism->mechanism == CKM_RSA_PKCS_PSS))
		return CKR_MECHANISM_INVALID;
	if (has("removed") || out())
		return CKR_DEVICE_REMOVED;
	if (has("switched") && opened_after[session % 4096] != pulls)
		return CKR_SESSION_HANDLE_INVALID;
	return real->C_SignInit(session, mechanism, key);
}

static unsigned long integer(unsigned char *out, const unsigned char *value, unsigned long len)
{
	unsigned long pad;

	while (len > 1 && *value == 0)
		value++, len--;
	pad = *value >> 7;
	out[0] = 2;
	out[1] = (unsigned char)(len + pad);
	out[2] = 0;
	memcpy(out + 2 + pad, value, len);
	return 2 + pad + len;
}

static CK_RV sign(CK_SESSION_HANDLE session, unsigned char *data, unsigned long data_len, unsigned char *signature,
		  unsigned long *len)
{
	CK_RV rv;

	if (has("der") && !signature) {
		rv = real->C_Sign(session, data, data_len, signature, len);
		*len += 16;
		return rv;
	}
	if (signature && switched("hang"))
		tell("hangs");
	while (signature && switched("hang"))
		usleep(20000);
	rv = real->C_Sign(session, data, data_len, signature, len);
	if (has("flip") && signature && rv == CKR_OK)
		signature[*len - 1] ^= 1;
	if (has("der") && signature && rv == CKR_OK) {
		unsigned char out[256];
		unsigned long half = *len / 2, r = integer(out + 2, signature, half);
		unsigned long s = integer(out + 2 + r, signature + half, half);

		out[0] = 0x30;
		out[1] = (unsigned char)(r + s);
		*len = 2 + r + s;
		memcpy(signature, out, *len);
	}
	return rv;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
	void *library = dlopen(SOFTHSM, RTLD_NOW);
	CK_RV (*get)(CK_FUNCTION_LIST **) = library ? dlsym(library, "C_GetFunctionList") : NULL;

	if (!get || get(&real) != CKR_OK)
		return CKR_GENERAL_ERROR;
	own = *real;
	own.C_Initialize = initialize;
	own.C_Finalize = finalize;
	own.C_Login = login;
	own.C_Logout = logout;
	own.C_GetTokenInfo = token_info;
	own.C_OpenSession = open_session;
	own.C_GetAttributeValue = attributes;
	own.C_SignInit = sign_init;
	own.C_Sign = sign;
	own.C_GetFunctionList = C_GetFunctionList;
	*list = &own;
	return CKR_OK;
}
