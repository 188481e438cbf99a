#pragma once

namespace emberq {

// Long work asks check_interrupt() between steps; after Ctrl-C (SIGINT, or SIGTERM) it throws
// InputError("interrupted"), so that destructors remove what is half-written. A second Ctrl-C ends
// the program at once.
void catch_interrupts();
void check_interrupt();

}  // namespace emberq
