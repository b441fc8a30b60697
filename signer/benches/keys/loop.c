/* The shortest way to N signatures: one session, C_SignInit and C_Sign in a loop, nothing checked.
 * Arguments: module, token label, PIN, key label, N. Prints the seconds that the loop took. */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(call) do { CK_RV rv_ = (call); if (rv_ != CKR_OK) { fprintf(stderr, "%s: %#lx\n", #call, rv_); exit(1); } } while (0)

int main(int argc, char **argv)
{
	/* DigestInfo of a SHA-256 digest, as hsmsign sends it. */
	static unsigned char data[51] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
					  0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 };
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_MECHANISM mechanism = { CKM_RSA_PKCS, NULL, 0 };
	CK_C_INITIALIZE_ARGS arguments = { .flags = CKF_OS_LOCKING_OK };
	CK_RV (*get)(CK_FUNCTION_LIST **);
	CK_FUNCTION_LIST *p11;
	CK_SLOT_ID slots[8];
	unsigned long slot_count = 8, found = 0;
	CK_SESSION_HANDLE session = 0;
	CK_OBJECT_HANDLE key;
	struct timespec start, end;
	void *library;

	if (argc != 6 || !(library = dlopen(argv[1], RTLD_NOW)))
		return 2;
	CK_ATTRIBUTE wanted[] = { { CKA_CLASS, &class, sizeof(class) }, { CKA_LABEL, argv[4], strlen(argv[4]) } };
	get = (CK_RV (*)(CK_FUNCTION_LIST **))dlsym(library, "C_GetFunctionList");
	CHECK(get(&p11));
	CHECK(p11->C_Initialize(&arguments));
	CHECK(p11->C_GetSlotList(1, slots, &slot_count));
	for (unsigned long i = 0; i < slot_count; i++) {
		CK_TOKEN_INFO info;

		CHECK(p11->C_GetTokenInfo(slots[i], &info));
		if (!memcmp(info.label, argv[2], strlen(argv[2])))
			CHECK(p11->C_OpenSession(slots[i], CKF_SERIAL_SESSION, NULL, NULL, &session));
	}
	CHECK(p11->C_Login(session, CKU_USER, (unsigned char *)argv[3], strlen(argv[3])));
	CHECK(p11->C_FindObjectsInit(session, wanted, 2));
	CHECK(p11->C_FindObjects(session, &key, 1, &found));
	CHECK(p11->C_FindObjectsFinal(session));
	if (found != 1)
		return 3;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (long n = atol(argv[5]); n > 0; n--) {
		unsigned char signature[512];
		unsigned long len = sizeof(signature);

		memcpy(data + 19, &n, sizeof(n));
		CHECK(p11->C_SignInit(session, &mechanism, key));
		CHECK(p11->C_Sign(session, data, sizeof(data), signature, &len));
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%f\n", (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	CHECK(p11->C_Finalize(NULL));
	return 0;
}
