# bash completion for safe-run
_safe_run() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=
    case $prev in
    --policy | --mount-allowlist | --events | --key | --attestation | --out) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --workdir-base | --output-dir | --artifacts) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    --from)
        words='oci-archive: oci: docker-archive: dir: tar:'
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
        compopt -o nospace
        return
        ;;
    --accel) words='auto kvm tcg' ;;
    --vmm) words=qemu ;;
    --format) words='text json' ;;
    *)
        case ${COMP_WORDS[1]}:$COMP_CWORD in
        *:1) words='validate compile policy run image key ps stop gc report version help' ;;
        policy:2) words='init explain why diff schema --help' ;;
        image:2) words='build ls inspect rm prune verify --help' ;;
        report:2) words='verify attest --help' ;;
        key:2) words='generate --help' ;;
        validate:*) words='--mount-allowlist --format --help' ;;
        compile:*) words='--dry-run --policy --mount-allowlist --help' ;;
        run:*) words='--policy --mount-allowlist --stdin --timeout --json --accel --vmm --output-dir --workdir-base --rehash
            --keep --verbose --help' ;;
        ps:*) words='--json --workdir-base --help' ;;
        stop:*) words="--kill --timeout --workdir-base --help $(safe-run ps 2> /dev/null | awk 'NR > 1 { print $1 }')" ;;
        image:*) words="--from --max-bytes --json --dry-run --help
            $(safe-run image ls 2> /dev/null | awk 'NR > 1 { print $1 }')" ;;
        gc:*) words='--dry-run --older-than --workdir-base --help' ;;
        policy:*) words='--mount-allowlist --format --exit-code --help' ;;
        report:*) words='--events --artifacts --key --attestation --format --text --json --help' ;;
        key:*) words='--out --help' ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    [ ${#COMPREPLY[@]} -gt 0 ] || [ "$COMP_CWORD" -eq 1 ] || mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}
complete -F _safe_run safe-run
