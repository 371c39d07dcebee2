/* SPDX-License-Identifier: Apache-2.0
 *
 * Included first in the tsan preset. Under GCC's macro protobuf's map fields
 * get two more members, which the distribution's libprotobuf does not know:
 * the two would disagree on the layout. The standard library still learns that
 * the thread sanitizer is on. */
#ifdef __cplusplus
#include <bits/c++config.h>
#endif
#undef __SANITIZE_THREAD__
