# Completion of gitlab-tokens in bash. In ~/.bashrc:
#   eval "$(gitlab-tokens --print-completion-script bash)"

_gitlab_tokens() {
    local line=${COMP_LINE:0:COMP_POINT} answer word cut
    local -a words
    COMPREPLY=()
    read -ra words <<< "$line"
    case $line in
        *[[:space:]]) words+=("") ;;
    esac
    if ! answer=$("$1" --complete -- "${words[@]}" 2> /dev/null); then
        compopt -o default
        return
    fi
    # What readline takes for the word begins after the last of COMP_WORDBREAKS, such as : and =.
    word=${words[${#words[@]} - 1]}
    cut=${word%"${word##*[:=]}"}
    while IFS= read -r answer; do
        [ -n "$answer" ] && COMPREPLY+=("${answer#"$cut"}")
    done <<< "$answer"
    case ${COMPREPLY[*]} in
        *: | *//) compopt -o nospace ;;
    esac
}

complete -F _gitlab_tokens gitlab-tokens
