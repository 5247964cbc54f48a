"""What a process may still ask of the kernel: to use what is open, memory, clocks and threads; for Linux on x86_64.

Knows nothing of what runs in it. It lists what is allowed, since a list of what is forbidden is never complete.
"""

import ctypes
import errno
import os
import platform
import struct

# Numbers of system calls, by family. None names a file, an address or another process; none gives a new descriptor.
_FILES = (0, 1, 3, 5, 7, 8, 19, 20, 262, 271)  # read write close fstat poll lseek readv writev newfstatat ppoll
_MEMORY = (9, 10, 11, 12, 25, 28)  # mmap mprotect munmap brk mremap madvise
_SIGNALS = (13, 14, 15, 37, 38, 131)  # rt_sigaction rt_sigprocmask rt_sigreturn alarm setitimer sigaltstack
_CLOCKS = (35, 36, 96, 98, 100, 201, 228, 229, 230)  # nanosleep getitimer gettimeofday getrusage times time clock_*
_THREADS = (24, 186, 202, 203, 204, 218, 273, 274, 309, 334)  # sched_* gettid futex set_tid_address robust_list rseq
_OTHER = (39, 60, 63, 97, 99, 231, 318, 324)  # getpid exit uname getrlimit sysinfo exit_group getrandom membarrier
_CLONE, _CLONE3, _KILL, _TGKILL = 56, 435, 62, 234
_CLONE_THREAD = 0x10000

_X86_64 = 0xC000003E  # as the kernel names what the call was made for: 32-bit programs count their calls differently
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # where they are in what the kernel tells of a call
_LOAD, _IF_EQUAL, _IF_BIT, _ANSWER = 0x20, 0x15, 0x45, 0x06  # of the classic Berkeley packet filter
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_SECCOMP, _SET_FILTER, _ALL_THREADS = 317, 1, 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def close() -> bool:
    """For good, and for all its threads. False where the kernel offers no such thing, and the process is as it was."""
    if platform.machine() != "x86_64":
        return False
    refuse = [(_ANSWER, 0, 0, _FAIL | errno.EPERM)]
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_IF_EQUAL, 1, 0, _X86_64), *refuse, (_LOAD, 0, 0, _NUMBER)]
    for number in (*_FILES, *_MEMORY, *_SIGNALS, *_CLOCKS, *_THREADS, *_OTHER):
        steps += [(_IF_EQUAL, 0, 1, number), (_ANSWER, 0, 0, _ALLOW)]
    steps += [(_IF_EQUAL, 0, 1, _CLONE3), (_ANSWER, 0, 0, _FAIL | errno.ENOSYS)]  # threads then start by clone
    for number, test, wanted in (
        (_CLONE, _IF_BIT, _CLONE_THREAD),
        (_KILL, _IF_EQUAL, os.getpid()),
        (_TGKILL, _IF_EQUAL, os.getpid()),
    ):
        steps += [(_IF_EQUAL, 0, 4, number), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
        steps += [(test, 0, 1, wanted), (_ANSWER, 0, 0, _ALLOW), *refuse]
    code = b"".join(struct.pack("<HBBI", *step) for step in [*steps, *refuse])
    program = _Program(len(code) // 8, code)
    return bool(ctypes.CDLL(None).syscall(_SECCOMP, _SET_FILTER, _ALL_THREADS, ctypes.byref(program)) == 0)
