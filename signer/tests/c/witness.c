/* A library that tells on whoever loads it: it appends to the file named when it was compiled whether
 * the process runs in the clean environment (SOFTHSM2_CONF set by hsmsign) or before it. With
 * -DCLING it also puts itself back into the environment of whatever is executed, as pseudo does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef OWN_PATH
#define OWN_PATH ""
#endif

/* What a module that passes for SoftHSMv2's at a glance holds. */
const char *const bait[] = { "SOFTHSM2_CONF", "C_GetFunctionList" };

static void tell(const char *what)
{
	FILE *file = fopen(WITNESS_FILE, "a");
	const char *again = getenv("HSMSIGN_STARTED_AGAIN");

	if (!file)
		return;
	fprintf(file, "%s %s\n", what, again ? "clean" : "before");
	fclose(file);
}

__attribute__((constructor)) static void loaded(void)
{
	tell("loaded");
}

#ifdef CLING
int execvp(const char *file, char *const arguments[])
{
	int (*next)(const char *, char *const[]) = dlsym(RTLD_NEXT, "execvp");

	setenv("LD_PRELOAD", OWN_PATH, 1);
	return next(file, arguments);
}
#endif

#ifdef MODULE
struct version { unsigned char major, minor; };
struct info {
	struct version cryptoki;
	unsigned char manufacturer[32];
	unsigned long flags;
	unsigned char description[32];
	struct version library;
};

static unsigned long yes(void *ignored)
{
	(void)ignored;
	return 0;
}

static unsigned long get_info(struct info *info)
{
	memset(info, ' ', sizeof(*info));
	info->flags = 0;
	info->cryptoki = (struct version){ 2, 40 };
	memcpy(info->manufacturer, "ACME HSM", 8);
	memcpy(info->description, "Implementation of PKCS11", 24);
	return 0;
}

static unsigned long get_slots(unsigned char present, unsigned long *slots, unsigned long *count)
{
	(void)present, (void)slots;
	tell("asked for tokens");
	*count = 0;
	return 0;
}

static struct {
	struct version version;
	void *functions[68];
} list;

unsigned long C_GetFunctionList(void **out)
{
	list.version = (struct version){ 2, 40 };
	list.functions[0] = (void *)yes;
	list.functions[1] = (void *)yes;
	list.functions[2] = (void *)get_info;
	list.functions[3] = (void *)C_GetFunctionList;
	list.functions[4] = (void *)get_slots;
	*out = &list;
	return 0;
}
#endif
