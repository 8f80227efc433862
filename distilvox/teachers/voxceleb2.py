"""The 5,994 development speakers of VoxCeleb2 (Chung, Nagrani, Zisserman 2018, arXiv 1806.05622), in sorted order.

A head of 5,994 unnamed rows was almost certainly trained on them, its rows in this order.
"""

from __future__ import annotations

MEMBERS = """
    1b0c0902d7def57fcbfe77e28d81f9f2f8c003a91f01cd98edcffebfbd1dffbf5b7f9f701f3fb800e43772fe9bb6df51
    cbefbd5d02401a5c4f80f7fad77e1eb777cfeff3dfe9effdcfbfbf5febfbfefee3fc7ffffeb7fb677f81eaf95ffbf7bc
    07f560f7ddbcee86f6705ffc97dfc0073b5355ff99eee9b6faedeffffe68dbc2effddc07ebe5f4fdf9dbeedcc1fce57f
    f8e540fe343c69f0073dfa07fddf00ffbfbfffd9dfef9a001c035c064c0fc1865f73ff3efbf1d5aabc00691ef13dbfb7
    ff5fbbe9ff3fb6fcbe57513dff8dfc7f801c3feffdff75ffebffbf5a1dc57ba1866f6fbf1e6e7f8efbbbfef3383cfcff
    be7e6f00714968bf538fb33cdecdf5f78bef7f5fdbeffafff4e9613fd1f7f3bdef3f17587dfff7cb5845a9fbefcffc17
    fdf67f77fdfc55dfe11378adc6df7fffffa70feb680ef814999abe77ba0147e3e35e7cbf81700e00f2d22836b7380feb
    5e7c001bfd92f8f51f0afdfeeeff5fa4b67e9fdffc7fb79ff77ff8d177eedfdf91f8089eeb301fc7be5dff4ffbe77fcc
    dbcb385717edd16dced17fffe8390d202df7dde75403ffffdfd76fff7065ff787dddccfbe1f00fc87fef1353aba7ff80
    0fd72f3118b5ff5f5fefeebfed85d9ffff261df9603bf879bf9f6800097abe59effae25c3d7fb7fc17ccbf5fe136f3e4
    ffde0013ec119bdbe0067e7e8f11abf54b3bfdd7ff7f7bf77b8bdb43ffbf4fc6c7fe7877a2bfe2a001ff9fd84980cf75
    317cdfafd7f19fedfff7f9ef296bce5c06cffffe7f03b2487d9f6fc4ef4400f0039f5440effdfff6deb7f77affed0381
    e54ffffe837afe747a277dd2affbdaad64ffdf7f7efeffebc00ddbefe377bffe3f4f31c9ff5a07b67f1f067d7a3f773b
    5cfffffcef9fcfbe980fcfffdfeebffafff1377e67cbed7ba77b647c6fff4ffbf6ff6a0d7af835dee5feefddf9fff6fd
    fffb072ffbdf1ff607bffbc1938d77ef7bfffffb1bfbfbeefe977ffcbfbad5eb98793fee260a13976b601b05496dfefe
    db4eaa3e9a088fef3789f7f427627c07daaf85b07f7fffbf9ff0d9cbffa872ff427ff517cb1feafdf79dbc100407e036
    238c9e8fc1f94eecd1b000de0bc17e2ffdabdfc003aff57d9815175b3ff3fdfffa78669f1f36bb797e00acdb00073808
    c1def178eced5a099033e7de48fd6bacaa380f3cf9cf7ee4e0f1edc000ab26be774abadfeb753f104356e0009f12001b
    efaf5fc1aac5dc5fffb861addd6f2ad9ef4d9ff7e36be9ff15dfbf838601f9ff7ffffbbefd87cbbabff41f7eff3bf5e6
    9faff8abe2a79a3db7f1cefebfe756f73077b6ca0036fff1efff7ffdef6ede3eff2d00bffff75bdfff74ba67f1aef20f
    de3fc5f537dffd9ff9e1fd3fe3f8010d52f9fa0d7e7d42ffcbdbf197fbedffd7edfe83e27b1ff739ff7e7fb7bfdeaf7f
    efb93fbccfffffc6078167fbbf3fffc3b5efaf77fbdf8f7a7cdfebfebfdcaf9801feeefbde0ffeefd7f983a9a195e0bf
    f95ee7eb51fffe66fcf4e799efa2df839fce37f7f8bffbe77b1f7fd8037bf6eefc3ef57c8cff7ff7ff5df5edb3bff073
    07dfef7faeeeafebf796affdfe11f3df7a7ff1feebdf76eea7edd82f0004e69ffbbbffa88a70243c034a39f1ffddefdd
    dbedd9b3f7d9000
"""
"""One bit an identity, in hexadecimal, id00000 the lowest: set where the corpus's own table of speakers
(vox2_meta.csv) says dev. The identities that have audio in the development set are the same."""


def dev_speakers() -> tuple[str, ...]:
    """The names, id00012 to id09272, ascending."""
    members = int("".join(MEMBERS.split()), 16)
    return tuple(f"id{number:05d}" for number in range(members.bit_length()) if members >> number & 1)
