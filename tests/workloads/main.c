// SPDX-License-Identifier: Apache-2.0
//
//   nt_workload [PREPARATION...] ACT [ARGUMENT...]
//
// Ground truth: does one act and prints what it did (truth.h). Preparations are
// in prepare.c, acts in act_*.c.
#include <stdio.h>
#include <string.h>

#include "truth.h"

static const struct act *find(const char *name)
{
	const struct act *tables[] = {process_acts, privilege_acts, file_acts,	names_acts, network_acts,
				      socket_acts,  storm_acts,	    call_acts, uring_acts};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (const struct act *a = tables[i]; a->name; a++)
			if (!strcmp(a->name, name))
				return a;
	return NULL;
}

int main(int argc, char **argv)
{
	int i = 1;

	while (i < argc && prepare(argv[i]))
		i++;
	const struct act *act = i < argc ? find(argv[i]) : NULL;
	if (!act) {
		fprintf(stderr, "nt_workload: no such act: %s\n", i < argc ? argv[i] : "(none)");
		return 99;
	}
	return act->fn(argc - i, argv + i);
}
