/* Syncs that do nothing and say that all is well: preloaded where a test must notice exactly that. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/types.h>

int fsync(int file) { (void)file; return 0; }
int fdatasync(int file) { (void)file; return 0; }
int sync_file_range(int file, off_t offset, off_t bytes, unsigned flags) {
    (void)file; (void)offset; (void)bytes; (void)flags;
    return 0;
}
int msync(void *start, size_t length, int flags) { (void)start; (void)length; (void)flags; return 0; }
int syncfs(int file) { (void)file; return 0; }
void sync(void) {}
